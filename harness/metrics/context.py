"""What a metric is made from, and what all metrics say of themselves in the same words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue, ValidationError

from harness.core.errors import HarnessError
from harness.core.specs import Spec
from harness.core.types import Sample

# Part of every signature: raised when a metric of ours would give another number for the same text.
VERSION = "harness:1"

Options = TypeVar("Options", bound=Spec)


@dataclass(frozen=True, slots=True)
class MetricContext:
    """The metric's name, all samples of the task (for lists of classes), and the options set for it.

    folder: where relative paths among the options start; the working directory by default.
    """

    name: str
    samples: Sequence[Sample]
    options: Mapping[str, JsonValue]
    folder: Path = Path()


class NoOptions(Spec):
    """For metrics with nothing to set."""


def parse_options(context: MetricContext, kind: type[Options]) -> Options:
    """The options of a metric, typed; HarnessError E-OPTION that lists every mistake."""
    try:
        return kind.model_validate(dict(context.options))
    except ValidationError as err:
        details = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in err.errors()]
        known = ", ".join(field.alias or name for name, field in kind.model_fields.items()) or "none"
        raise HarnessError(
            f"the options of metric {context.name!r} are wrong",
            fix=f"correct [metrics.options.{toml_key(context.name)}]; it knows: {known}",
            code="E-OPTION",
            details=details,
        ) from err


def option_error(context: MetricContext, what: str, *, fix: str, details: Sequence[str] = ()) -> HarnessError:
    """A mistake in one metric's options: E-OPTION, the table named in the way to mend it."""
    return HarnessError(
        f"metric {context.name!r}: {what}",
        fix=f"{fix}, in [metrics.options.{toml_key(context.name)}]",
        code="E-OPTION",
        details=details,
    )


def toml_key(name: str) -> str:
    """A metric's name as TOML spells it in a table's header: names with a colon or a dot need quotes.

    >>> toml_key("rouge_l"), toml_key("hf:accuracy")
    ('rouge_l', '"hf:accuracy"')
    """
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else f'"{name}"'


def located(sample: Sample) -> str:
    """The sample as messages name it: its id, and the file and line it came from."""
    return f"sample {sample.id!r}" + (f" ({sample.origin})" if sample.origin else "")


def reference_counts(samples: Sequence[Sample]) -> str:
    """How many references samples have, as sacrebleu's signatures say it: a number, or `var`."""
    counts = {len(sample.references) for sample in samples}
    return str(counts.pop()) if len(counts) == 1 else "var"


def yes_no(value: bool) -> str:
    """A switch as signatures spell it."""
    return "yes" if value else "no"
