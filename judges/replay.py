"""Verdicts that were given before, out of a file: no model is asked. Rows are described in judges/README.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, JsonValue, ValidationError, model_validator

from harness.core.errors import HarnessError
from harness.core.judging import Item, Pair, Preference, Verdict, text_hash
from harness.core.protocols import Generator, JudgeContext, JudgeKind
from harness.core.specs import Spec
from harness.core.types import Failure
from harness.data.display import escape, quote
from harness.data.files import Lines
from harness.data.jsonl import read_jsonl
from harness.data.problems import Problem
from harness.data.rows import Row
from judges.options import option_error, parse_options

UNPARSED = Failure("judge", "unparsed verdict")
NOT_STORED = Failure("judge", "no stored verdict")
_SAID = frozenset({"score", "choice", "orders"})
_OF_PAIRS = frozenset({"choice", "orders"})
_PREFERENCES: Mapping[str, float] = {"first": 1.0, "tie": 0.5, "second": 0.0}
_MAX_BYTES = 1 << 20
_N_SHOWN = 20

Score: TypeAlias = Annotated[float, Field(ge=0, le=1, strict=True)]
Said: TypeAlias = Score | Preference | None


class Options(Spec):
    """Where the verdicts are."""

    file: str = Field(min_length=1, description="JSON Lines, beside judge.toml")


class _Stored(Spec):
    """One row: of which item, and what was said of it."""

    item: str | None = None
    id: str | None = None
    question: str | None = None
    answers: tuple[str, ...] | None = None
    score: Score | None = None
    choice: Preference | None = None
    orders: tuple[Said, Said] | None = None

    @model_validator(mode="after")
    def _says_one_thing_of_one_item(self) -> _Stored:
        if len(self.model_fields_set & _SAID) != 1:
            raise ValueError("give one of score, choice and orders; null for a verdict that could not be read")
        if (self.question is None) != (self.answers is None):
            raise ValueError("question and answers go together")
        if sum(each is not None for each in (self.item, self.id, self.question)) != 1:
            raise ValueError('name the item by "item" (hash of its text), "id", or "question" and "answers"')
        return self

    @property
    def key(self) -> str:
        """What the row is looked up by: the item's hash or id."""
        if self.question is not None and self.answers is not None:
            return text_hash(self.question, *self.answers)
        return str(self.item or self.id)

    @property
    def said(self) -> Verdict | Failure:
        """The row as a verdict; null anywhere is a failure."""
        parts = [_number(each) for each in (self.orders or (self.score if self.choice is None else self.choice,))]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return UNPARSED
        score = sum(known) / len(known)
        return Verdict(score, (score,), orders=(known[0], known[1]) if len(known) == 2 else None)


@dataclass(frozen=True)
class ReplayJudge:
    """Looks items up by the hash of their text, then by their id. sha256: of the file."""

    context: JudgeContext
    stored: Mapping[str, Verdict | Failure]
    sha256: str

    kind = "replay"
    uses_references = False

    @property
    def name(self) -> str:
        """The judge's own name."""
        return self.context.name

    @property
    def takes(self) -> Literal["single", "pair"]:
        """What the labels are of."""
        return "pair" if self.context.label_kind == "pair" else "single"

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        """The bytes of the file."""
        return {"kind": self.kind, "verdicts": self.sha256}

    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        """(item id, what was stored for it), in the items' order."""
        for item in items:
            yield item.id, self._find(item)

    def _find(self, item: Item) -> Verdict | Failure:
        found = self.stored.get(_hash(item))
        if found is None and isinstance(item, Pair):
            found = _turned(self.stored.get(_hash(item.swapped)))
        return found or self.stored.get(item.id, NOT_STORED)


def _hash(item: Item) -> str:
    return text_hash(item.question, *(item.answers if isinstance(item, Pair) else (item.answer,)))


def _turned(found: Verdict | Failure | None) -> Verdict | Failure | None:
    """What was said of a pair, seen from its other answer."""
    if not isinstance(found, Verdict):
        return found
    orders = None if found.orders is None else (1 - found.orders[1], 1 - found.orders[0])
    return Verdict(1 - found.score, (1 - found.score,), orders=orders)


def _number(said: Said) -> float | None:
    return _PREFERENCES[said] if isinstance(said, str) else said


def read_verdicts(path: Path, *, of_pairs: bool) -> tuple[Mapping[str, Verdict | Failure], str]:
    """The verdicts by the items' hashes or ids, and the file's sha256; E-VERDICTS with every line that is none."""
    lines = Lines(path, path.name, limit=_MAX_BYTES)
    found: dict[str, Verdict | Failure] = {}
    wrong: list[str] = []
    for row in read_jsonl(lines):
        if isinstance(row, Problem):
            wrong.append(row.example)
        elif isinstance(row, Row):
            wrong.extend(f"{path.name}:{row.line}: {what}" for what in _add(row, found, of_pairs=of_pairs))
    if wrong:
        raise HarnessError(
            f"{len(wrong)} rows of {quote(path.name)} are not verdicts",
            fix='write rows such as {"id": "row-1", "score": 0.75}; judges/README.md shows all',
            code="E-VERDICTS",
            details=[escape(each, 300) for each in wrong[:_N_SHOWN]],
        )
    return found, lines.sha256


def _add(row: Row, found: dict[str, Verdict | Failure], *, of_pairs: bool) -> Iterator[str]:
    """Put one row to the others; what is wrong with it."""
    try:
        stored = _Stored.model_validate(row.fields)
    except ValidationError as err:
        yield from (
            f"{'.'.join(map(str, each['loc'])) or 'row'}: {each['msg'].removeprefix('Value error, ')}"
            for each in err.errors()
        )
        return
    if not of_pairs and stored.model_fields_set & _OF_PAIRS:
        yield "a choice is between two answers, and the labels are of single ones"
    elif found.setdefault(stored.key, stored.said) != stored.said:
        yield f"{stored.key} has another verdict further up"


class ReplayKind:
    """How it enters."""

    def create(self, context: JudgeContext) -> ReplayJudge:
        """The judge with its verdicts; E-OPTION, E-FILE or E-VERDICTS."""
        options = parse_options(context, Options)
        path = context.folder / options.file
        if not path.is_file():
            raise option_error(context, f"there is no file {quote(options.file)}", fix="correct file")
        stored, sha256 = read_verdicts(path, of_pairs=context.label_kind == "pair")
        return ReplayJudge(context, stored, sha256)


kind: JudgeKind = ReplayKind()
