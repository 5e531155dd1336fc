"""Chat templates are programs that come with a model: they are vetted before transformers' sandbox runs them.

The sandbox blocks access to Python's internals but not work without end: `'a' * 10**8` allocates 100 MB in it.
Refused here is what templates have no use for and what makes large strings cheaply. It is a fence, not a wall:
nested loops can still waste time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jinja2 import TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from harness.core.errors import HarnessError

MAX_TEMPLATE_BYTES = 256 * 1024
MAX_RENDERED_CHARACTERS = 16 * 2**20
_MAX_FACTOR = 64
_REFUSED_NODES = (nodes.Pow, nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
_REFUSED_FILTERS = frozenset({"format", "center", "attr", "wordwrap", "random"})


def read_template(path: Path) -> str:
    """A template from a file of the user's; E-TEMPLATE if it cannot be read."""
    try:
        return vetted(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as err:
        raise HarnessError(
            f"the chat template {str(path)!r} cannot be read: {err}",
            fix="give model.template= a UTF-8 file with a Jinja chat template",
            code="E-TEMPLATE",
        ) from err


def vetted(template: str) -> str:
    """The template, if it is of a sane size and does nothing that chat templates do not do."""
    if len(template.encode()) > MAX_TEMPLATE_BYTES:
        raise _refused(f"it is larger than {MAX_TEMPLATE_BYTES} bytes")
    try:
        tree = ImmutableSandboxedEnvironment(extensions=[loopcontrols, _Generation]).parse(template)
    except (TemplateSyntaxError, RecursionError) as err:
        raise _refused(f"it is not valid Jinja: {err}") from err
    for reason in _objections(tree):
        raise _refused(reason)
    return template


def uses_clock(template: str) -> bool:
    """Whether the rendered text depends on today's date."""
    return "strftime_now" in template


class _Generation(Extension):
    """Knows the tag by which templates mark the assistant's words; transformers adds it, and it renders to nothing."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        """The body alone."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


def _objections(tree: nodes.Template) -> Iterator[str]:
    for node in tree.find_all(_REFUSED_NODES):
        yield f"it uses {type(node).__name__.lower()} in line {node.lineno}"
    for product in tree.find_all(nodes.Mul):
        if not any(_small(side) for side in (product.left, product.right)):
            yield f"it multiplies by something large or unknown in line {product.lineno}"
    for remainder in tree.find_all(nodes.Mod):
        if isinstance(remainder.left, nodes.Const) and isinstance(remainder.left.value, str):
            yield f"it formats a string with % in line {remainder.lineno}"
    for used in tree.find_all(nodes.Filter):
        if used.name in _REFUSED_FILTERS:
            yield f"it uses the filter {used.name!r} in line {used.lineno}"


def _small(node: nodes.Expr) -> bool:
    return isinstance(node, nodes.Const) and isinstance(node.value, int | float) and abs(node.value) <= _MAX_FACTOR


def _refused(why: str) -> HarnessError:
    return HarnessError(
        f"the chat template is refused: {why}",
        fix="give a template of your own: model.template=FILE",
        code="E-TEMPLATE",
    )
