"""Words as they are typed, and what each key means. A word is parsed by its field's type, never by its looks."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast, get_args, get_origin

from pydantic import BaseModel, JsonValue

from harness.core.errors import HarnessError
from harness.core.specs import RunSpec

Nested = dict[str, JsonValue]

# What people type, and what it is called here.
ALIASES = {
    "lr": "trainer.lr",
    "learning_rate": "trainer.lr",
    "trainer.learning_rate": "trainer.lr",
    "epochs": "trainer.epochs",
    "rank": "trainer.rank",
    "trainer.r": "trainer.rank",
    "batch_size": "trainer.batch_rows",
    "trainer.batch_size": "trainer.batch_rows",
    "max_new_tokens": "generation.max_tokens",
    "max_tokens": "generation.max_tokens",
    "temperature": "generation.temperature",
    "shots": "prompting.shots",
    "system": "prompting.system",
    "template": "model.template",
    "patience": "select.patience",
}
TASK_SECTIONS = ("data", "prompting", "generation", "metrics")
# A word that names the thing itself: model=X is model.name=X.
NAMES = {
    "model": "model.name",
    "backend": "backend.name",
    "base_url": "backend.base_url",
    "trainer": "trainer.name",
    "data": "data.source",
    "metric": "metrics.primary",
}
OWN_KEYS = ("task", "preset", "out")
_METRIC_OPTIONS = "metrics.options."
_SETTABLE = ("model", "backend", "select", "seed", "n_resamples")
# Levels of lists and tables in each other; no setting needs a tenth of it.
_DEEPEST = 50
# Lists whose items are prose, where a comma is a comma.
_PROSE = (("task", "prompting", "instructions"), ("task", "generation", "stop"))


@dataclass(frozen=True, slots=True)
class Field:
    """A settable key: where its value goes in the nested document, and how its text is read."""

    path: tuple[str, ...]
    annotation: object

    @property
    def is_open(self) -> bool:
        """Whether it is a table whose keys nobody knows beforehand."""
        return get_origin(self.annotation) is dict

    def read(self, text: str) -> JsonValue:
        """Text as a value of this field's kind; scalars are left to the schema, which knows their type."""
        arguments = get_args(self.annotation)
        if text == "null" and type(None) in arguments:
            return None
        if get_origin(self.annotation) is tuple or any(get_origin(a) is tuple for a in arguments):
            return self._items(text)
        return _as_json(text) if self.is_open else text

    def _items(self, text: str) -> JsonValue:
        """A list typed as JSON, or cut at commas; where its items are prose, the text is the only one."""
        if not text.startswith("["):
            parts = [text] if self.path in _PROSE else text.split(",")
            return [*parts] if text else []
        try:
            return _from_json(text)
        except json.JSONDecodeError as err:
            raise ValueError(f"begins like a JSON list and is none: {err}") from err


def split_words(words: Sequence[str]) -> dict[str, str]:
    """Words as keys and texts; HarnessError for a word without a value, and for one key with two values."""
    typed: dict[str, str] = {}
    bare = [word for word in words if "=" not in word]
    if bare:
        raise HarnessError(
            f"{bare[0]!r} is not a setting",
            fix=f"settings are key=value; did you mean task={bare[0]}?",
            code="E-OPTION",
        )
    for word in words:
        key, _, value = word.partition("=")
        key = NAMES.get(key, key)
        if typed.get(key, value) != value:
            raise HarnessError(
                f"{key} is given twice: {typed[key]!r} and {value!r}", fix="keep one of them", code="E-CONFLICT"
            )
        typed[key] = value
    return typed


def known_fields(trainer_spec: type[BaseModel] | None = None) -> Iterator[tuple[str, Field]]:
    """Every key that may be typed, with the settings of a trainer if one is named."""
    for key, field in fields_of(RunSpec, ()):
        section = key.split(".")
        if section[0] == "task" and section[1] in TASK_SECTIONS:
            yield ".".join(section[1:]), field
        elif section[0] in _SETTABLE:
            yield key, field
    if trainer_spec is not None:
        yield from fields_of(trainer_spec, ("trainer",))


def fields_of(model: type[BaseModel], prefix: tuple[str, ...]) -> Iterator[tuple[str, Field]]:
    """The leaves of a spec with their dotted keys."""
    for name, info in model.model_fields.items():
        annotation = info.annotation
        path = (*prefix, name)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from fields_of(annotation, path)
        else:
            yield ".".join(path), Field(path, annotation)


def overlay(run: Nested, typed: Mapping[str, str], fields: Mapping[str, Field], origins: dict[str, str]) -> list[str]:
    """Put typed values into the document and remember where they came from; what is wrong with them, one line each."""
    mistakes = []
    # Settings of metrics last: where a name with dots ends is known once the metrics are.
    for key, text in sorted(typed.items(), key=lambda item: item[0].startswith(_METRIC_OPTIONS)):
        found = _find(key, fields)
        if found is None:
            mistakes.append(f"unknown setting {key!r}. {suggestion(key, tuple(fields))}")
            continue
        field, rest = found
        if key.startswith(_METRIC_OPTIONS):
            rest = _after_name(rest, _metric_names(run))
        try:
            _put(run, (*field.path, *rest), _as_json(text) if rest else field.read(text))
        except ValueError as err:
            mistakes.append(f"{key}={text:.60}: {err}")
        origins[".".join((*field.path, *rest))] = f"typed: {key}={text}"
    return mistakes


def suggestion(key: str, known: Sequence[str]) -> str:
    """A sentence with the name that was probably meant."""
    if key in ALIASES:
        return f"Did you mean {ALIASES[key]}?"
    last = key.rpartition(".")[2]
    by_last = [name for name in known if name.rpartition(".")[2] == last]
    close = by_last or difflib.get_close_matches(key, (*known, *OWN_KEYS, *NAMES), n=2, cutoff=0.6)
    close = close or [k for k in known if difflib.SequenceMatcher(None, k.rpartition(".")[2], last).ratio() > 0.75][:2]
    return f"Did you mean {' or '.join(close)}?" if close else "`harness run --help` lists the sections"


def leaves(document: Mapping[str, JsonValue], prefix: str = "") -> Iterator[str]:
    """The dotted keys of all values; an empty table counts as one."""
    for key, value in document.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _find(key: str, fields: Mapping[str, Field]) -> tuple[Field, tuple[str, ...]] | None:
    """The field of a key, and what follows it where the field is an open table (metrics.options.rouge_l.stem)."""
    if key in fields:
        return fields[key], ()
    parts = key.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        field = fields.get(".".join(parts[:cut]))
        if field is not None and field.is_open:
            return field, tuple(parts[cut:])
    return None


def _after_name(rest: tuple[str, ...], names: Sequence[str]) -> tuple[str, ...]:
    """(metric, key, ...) from parts cut at every dot; the longest name that fits is meant, such as hf:own/score.py."""
    typed = ".".join(rest)
    fitting = [name for name in names if typed.startswith(f"{name}.")]
    if not fitting:
        return rest
    name = max(fitting, key=len)
    return (name, *typed[len(name) + 1 :].split("."))


def _metric_names(run: Nested) -> list[str]:
    """The metrics that the document names so far; what is no name is left for the schema to refuse."""
    task = run.get("task")
    metrics = task.get("metrics") if isinstance(task, dict) else None
    if not isinstance(metrics, dict):
        return []
    report = metrics.get("report")
    return [n for n in (metrics.get("primary"), *(report if isinstance(report, list) else ())) if isinstance(n, str)]


def _put(document: Nested, path: Sequence[str], value: JsonValue) -> None:
    for part in path[:-1]:
        inner = document.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ValueError(f"{part} is {inner!r}, which has no settings of its own")
        document = inner
    document[path[-1]] = value


def _as_json(text: str) -> JsonValue:
    """The value of an open table, whose types nobody knows: JSON where it is JSON, else the text itself."""
    try:
        return _from_json(text)
    except json.JSONDecodeError:
        return text


def _from_json(text: str) -> JsonValue:
    """JSON as a value; ValueError where it is none, or nested deeper than anything that is meant."""
    try:
        value = cast(JsonValue, json.loads(text))
        is_too_deep = _is_deeper(value, _DEEPEST)
    except RecursionError:
        is_too_deep = True
    if is_too_deep:
        raise ValueError(f"lists and tables are nested more than {_DEEPEST} deep")
    return value


def _is_deeper(value: JsonValue, levels: int) -> bool:
    """Whether lists and tables stand in each other in more levels than this."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (levels == 0 or any(_is_deeper(each, levels - 1) for each in inner))
