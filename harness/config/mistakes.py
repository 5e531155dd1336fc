"""What is wrong with settings, as sentences: the key as people know it, the value, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from harness.catalogue import TASK_FILE
from harness.config.words import Nested, fields_of, suggestion
from harness.core.errors import HarnessError

M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], values: Nested, prefix: str, origins: Mapping[str, str], mistakes: list[str]) -> M | None:
    """The values as a spec; None, with a line in `mistakes` for each thing that is wrong."""
    try:
        return model.model_validate(values)
    except ValidationError as err:
        mistakes.extend(_mistake(detail, prefix, model, origins) for detail in err.errors())
        return None


def all_at_once(mistakes: Sequence[str]) -> HarnessError:
    """One error for every mistake."""
    count = "one setting is wrong" if len(mistakes) == 1 else f"{len(mistakes)} settings are wrong"
    return HarnessError(count, fix="correct them and type the command again", code="E-OPTION", details=mistakes)


def _mistake(detail: ErrorDetails, prefix: str, model: type[BaseModel], origins: Mapping[str, str]) -> str:
    # What is wrong with a whole table has no place in it: "trainer.".
    full = (prefix + ".".join(str(part) for part in detail["loc"])).rstrip(".")
    shown = full.removeprefix("task.")
    origin = _origin(full, origins)
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        known = [key.removeprefix("task.") for key, _ in fields_of(model, tuple(prefix.split(".")[:-1]))]
        return f"unknown setting {shown!r} ({origin}). {suggestion(shown, known)}"
    if isinstance(detail["input"], dict):
        return f"{shown}: {message}"
    if detail["type"] == "missing":
        return f"{shown} is missing from {TASK_FILE}"
    if detail["type"] == "dict_type":
        message = f"it is a table; type {shown}.NAME=VALUE for each thing in it"
    return f"{shown}: {message} (got {detail['input']!r:.60} from {origin})"


def _origin(full: str, origins: Mapping[str, str]) -> str:
    """Where a value came from: it or the list or table that it stands in, else what stands in it, else the file."""
    parts = full.split(".")
    around = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    inside = (key for key in origins if key.startswith(f"{full}."))
    return next((origins[key] for key in (*around, *inside) if key in origins), TASK_FILE)
