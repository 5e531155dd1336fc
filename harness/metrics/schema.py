"""Whether an answer is JSON of the wanted form, said as a JSON Schema."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field, JsonValue

from harness.core.errors import HarnessError
from harness.core.protocols import Metric
from harness.core.specs import Spec
from harness.data.display import escape, quote
from harness.metrics.context import VERSION, MetricContext, option_error, parse_options, toml_key
from harness.metrics.mean import MeanMetric
from harness.metrics.pattern import TIMEOUT_S
from harness.metrics.strict_json import canonical, parse

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator
    from referencing._core import Resolver

_MOST_BYTES = 4 * 2**20
# Values under these keywords are data: a "$ref" in them is no reference.
_DATA = ("const", "enum", "default", "examples")


class Options(Spec):
    """The form."""

    # "schema" is taken: pydantic's models have a method of that name.
    form: dict[str, JsonValue] | str = Field(
        alias="schema", description="a JSON Schema as a table, or the path of a JSON file with one"
    )


def create(context: MetricContext) -> Metric:
    """Share of completions that are strict JSON and satisfy `schema`; the references do not matter.

    The draft is the one that "$schema" names, 2020-12 without it. `format` is not checked, as the standard has it.
    References to other documents are refused, nothing is fetched.
    """
    form = _schema(context)
    validator = _validator(context, form)

    def score(completion: str, references: Sequence[str]) -> float:
        try:
            return float(validator.is_valid(parse(completion)))
        except (ValueError, ArithmeticError, RecursionError):
            # Not JSON, or numbers that cannot be computed with: 10**400 is no float, which multipleOf divides by one.
            return 0.0
        except TimeoutError as err:
            raise HarnessError(
                f"a pattern in the schema of metric {context.name!r} takes longer than {TIMEOUT_S:g} s on an answer",
                fix=f"write it without repeats inside repeats in [metrics.options.{toml_key(context.name)}]",
                code="E-OPTION",
            ) from err

    digest = hashlib.sha256(canonical(form).encode()).hexdigest()[:12]
    draft = str(type(validator).META_SCHEMA.get("$id", "")).rstrip("#")
    return MeanMetric(context.name, f"json_schema|{draft}|schema:{digest}|strict|{VERSION}", score)


def _schema(context: MetricContext) -> dict[str, JsonValue]:
    """The schema as a table; HarnessError where the file cannot be read or holds something else."""
    form = parse_options(context, Options).form
    if not isinstance(form, str):
        return form
    path = context.folder / form
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES} bytes")
        value = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or escape(str(err))
        what = f"the schema {quote(form)} cannot be read: {reason}"
        raise option_error(context, what, fix="name a JSON file, or write the schema as a table") from err
    if not isinstance(value, dict):
        raise option_error(context, f"the schema {quote(form)} is no JSON object", fix="name a file with a schema")
    return value


def _validator(context: MetricContext, form: dict[str, JsonValue]) -> Validator:
    import regex
    from jsonschema import Draft202012Validator, SchemaError, validators
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    draft = validators.validator_for(form, default=None) if "$schema" in form else Draft202012Validator
    if draft is None:
        what = f'it does not know the draft {quote(str(form["$schema"]))} that "$schema" names'
        raise option_error(context, what, fix='name "https://json-schema.org/draft/2020-12/schema"')
    try:
        draft.check_schema(form)
        _check_references(form, str(draft.META_SCHEMA.get("$schema", "")))
        _check_patterns(form)
        if _keys(form) >= {"unevaluatedProperties", "patternProperties"}:
            # jsonschema searches for the patterns of both together, and nothing could stop it.
            what = "a schema with unevaluatedProperties and patternProperties cannot be held to a time"
            raise option_error(context, what, fix="use additionalProperties, or no patternProperties")
        # An empty registry: jsonschema would otherwise fetch what a reference names.
        checked: Validator = validators.extend(draft, _KEYWORDS)(form, registry=Registry())
    except SchemaError as err:
        place = "/".join(map(str, err.absolute_path)) or "its top"
        what = f"the schema is wrong at {escape(place)}: {escape(err.message, 200)}"
        raise option_error(context, what, fix="correct schema") from err
    except Unresolvable as err:
        what = f"the schema refers to {quote(str(err.ref))}, which is not in it; nothing is fetched"
        raise option_error(context, what, fix='put it under "$defs" of the schema') from err
    except (regex.error, RecursionError) as err:
        reason = "is nested too deep" if isinstance(err, RecursionError) else f"has a wrong pattern: {err}"
        raise option_error(context, f"the schema {reason}", fix="correct schema") from err
    return checked


def _check_references(form: dict[str, JsonValue], draft: str) -> None:
    """Unresolvable where any reference leads out of the schema or nowhere: better now than at the first answer."""
    from jsonschema_specifications import REGISTRY
    from referencing.jsonschema import DRAFT202012, specification_with

    rules = specification_with(draft, default=DRAFT202012)

    def check(node: JsonValue, resolver: Resolver) -> None:
        if isinstance(node, list):
            for item in node:
                check(item, resolver)
        elif isinstance(node, dict):
            inner = resolver.in_subresource(rules.create_resource(node))
            for keyword in ("$ref", "$dynamicRef"):
                reference = node.get(keyword)
                if isinstance(reference, str):
                    inner.lookup(reference)
            for key, value in node.items():
                if key not in _DATA:
                    check(value, inner)

    check(form, REGISTRY.resolver_with_root(rules.create_resource(form)))


def _check_patterns(node: JsonValue) -> None:
    """regex.error where a pattern cannot be read."""
    import regex

    if isinstance(node, list):
        for item in node:
            _check_patterns(item)
    elif isinstance(node, dict):
        found, named = node.get("pattern"), node.get("patternProperties")
        for pattern in (*([found] if isinstance(found, str) else ()), *(named if isinstance(named, dict) else ())):
            regex.compile(pattern)
        for key, value in node.items():
            if key not in _DATA:
                _check_patterns(value)


def _keys(node: JsonValue) -> frozenset[str]:
    """All names of members, at any depth."""
    items = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    return frozenset(node if isinstance(node, dict) else ()).union(*map(_keys, items))


def _matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found; TimeoutError after TIMEOUT_S."""
    import regex

    return regex.search(pattern, text, timeout=TIMEOUT_S) is not None


# jsonschema's own keywords, but those that search for a pattern give up in time.


def _pattern(
    validator: Validator, pattern: str, instance: JsonValue, schema: Mapping[str, JsonValue]
) -> Iterator[ValidationError]:
    from jsonschema import ValidationError

    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError("does not match")


def _pattern_properties(
    validator: Validator, forms: Mapping[str, JsonValue], instance: JsonValue, schema: Mapping[str, JsonValue]
) -> Iterator[ValidationError]:
    members = instance.items() if isinstance(instance, dict) else ()
    for pattern, form in forms.items():
        for name, value in members:
            if _matches(pattern, name):
                yield from validator.descend(value, form, path=name, schema_path=pattern)


def _additional_properties(
    validator: Validator, form: JsonValue, instance: JsonValue, schema: Mapping[str, JsonValue]
) -> Iterator[ValidationError]:
    known, patterns = (schema.get(key) or {} for key in ("properties", "patternProperties"))
    assert isinstance(known, dict)
    assert isinstance(patterns, dict)
    for name, value in instance.items() if isinstance(instance, dict) else ():
        if name not in known and not any(_matches(pattern, name) for pattern in patterns):
            yield from validator.descend(value, form, path=name)


_KEYWORDS = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
}
