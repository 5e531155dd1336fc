"""What label a text stands for: the text itself, or one key of a JSON answer."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.errors import HarnessError
from harness.core.types import Sample
from harness.metrics.context import located, toml_key
from harness.metrics.strict_json import canonical, parse


def label_of(text: str, key: str | None) -> str | None:
    """The stripped text; with a key, the value of that top-level key (text stripped, all else as canonical JSON).

    So 1 and "1", or true and "true", are one label, though not one field to `field_f1`: a class has one name. None
    where the text is no JSON object or has no such key: a prediction that matches nothing.
    """
    if key is None:
        return text.strip()
    try:
        value = parse(text)
        if not isinstance(value, dict) or key not in value:
            return None
        label = value[key]
        return label.strip() if isinstance(label, str) else canonical(label)
    except ValueError:
        return None


def reference_labels(sample: Sample, key: str | None, *, metric: str) -> tuple[str, ...]:
    """Labels of all references; HarnessError where one has no such key."""
    labels = tuple(label_of(reference, key) for reference in sample.references)
    if None in labels:
        raise HarnessError(
            f"metric {metric!r} reads {key!r} of every reference, but {located(sample)} has one that is no JSON object"
            " with that key",
            fix=f"correct the row, or change field in [metrics.options.{toml_key(metric)}]",
            code="E-OPTION",
        )
    return tuple(label for label in labels if label is not None)


def field_signature(key: str | None) -> str:
    """How signatures spell what is read."""
    return "text" if key is None else f"field:{key}"


def check_references(samples: Sequence[Sample], key: str | None, *, metric: str) -> None:
    """HarnessError at the first sample whose references have no label."""
    for sample in samples:
        reference_labels(sample, key, metric=metric)
