"""Which samples a page shows, in which order, and what it carries of each.

All of them while they are few; else the worst, the best, those that changed and some by hash, in equal parts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Literal, TypedDict

from harness.core.protocols import RunView
from harness.core.records import SampleRow
from reports.numbers import finite
from reports.tables import baseline_arm, evaluations, tuned_arm
from reports.text import SHOWN_CHARACTERS, Piece, differences, one_line, shown, visible

MOST_SAMPLES = 2_000
# Bytes of text before compression, which makes about 2.6 of them one byte of the page.
MOST_BYTES = 6_000_000
MOST_REFERENCES = 8

Status = Literal["worse", "failed", "different", "same", "better"]
_ORDER: dict[Status, int] = {"worse": 0, "failed": 1, "different": 2, "same": 3, "better": 4}


class Entry(TypedDict):
    """One sample as the page carries it; outputs, failures and scores (by metric) are in the order of the arms."""

    id: str
    prompt: str
    references: list[str]
    metadata: str
    outputs: list[str | None]
    failures: list[str | None]
    scores: list[list[float | None]]


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a sample while choosing. change: gain of the tuned arm over the baseline; n_bytes: its cost."""

    index: int
    status: Status
    change: float
    lot: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Viewer:
    """The samples of a page. n_all: samples of the run; arms: names in the order of an entry's lists."""

    entries: tuple[Entry, ...]
    statuses: tuple[Status, ...]
    n_all: int
    arms: tuple[str, ...]
    baseline: str | None
    tuned: str | None

    @property
    def sampled(self) -> bool:
        """Whether some samples are left out."""
        return len(self.entries) < self.n_all


@dataclass(frozen=True, slots=True)
class Side:
    """One column of a sample shown without scripts: an arm's answer in pieces, or why there is none."""

    title: str
    pieces: tuple[Piece, ...]
    failure: str | None
    score: float | None


@dataclass(frozen=True, slots=True)
class Shown:
    """One sample laid out: baseline, tuned and reference beside each other."""

    entry: Entry
    status: Status
    change: float | None
    sides: tuple[Side, ...]


def viewer(view: RunView) -> Viewer:
    """Choose and load the samples of a page; reads the run's samples twice and keeps only the chosen ones."""
    arms = _arms(view)
    pair = (baseline_arm(view.result), tuned_arm(view.result))
    keys = list(_keys(view, pair))
    chosen = {key.index: key for key in choose(keys)}
    found = [(chosen[index], row) for index, row in enumerate(view.samples()) if index in chosen]
    found.sort(key=lambda item: (_ORDER[item[0].status], item[0].change, item[0].index))
    entries = tuple(_entry(row, arms, view.result.metrics) for _, row in found)
    return Viewer(entries, tuple(key.status for key, _ in found), len(keys), arms, *pair)


def choose(keys: Sequence[Key], most: int = MOST_SAMPLES, most_bytes: int = MOST_BYTES) -> list[Key]:
    """All keys, or as many as fit, taken in turn from the worst, the best, the changed and by hash."""
    by_change = sorted(keys, key=lambda key: (key.change, key.index))
    changed = sorted((key for key in keys if key.status != "same"), key=lambda key: key.lot)
    by_lot = sorted(keys, key=lambda key: key.lot)
    turns = chain.from_iterable(zip_longest(by_change, reversed(by_change), changed, by_lot))
    taken: dict[int, Key] = {}
    n_bytes = 0
    for key in turns:
        if key is None or key.index in taken:
            continue
        n_bytes += key.n_bytes
        if len(taken) == most or n_bytes > most_bytes:
            break
        taken[key.index] = key
    return list(taken.values())


def _arms(view: RunView) -> tuple[str, ...]:
    named = tuple(dict.fromkeys(record.arm for record in evaluations(view.result, "test")))
    return named or tuple(next((tuple(row.outputs) for row in view.samples()), ()))


def _keys(view: RunView, pair: tuple[str | None, str | None]) -> Iterator[Key]:
    result = view.result
    sign = 1.0 if result.higher_is_better.get(result.primary, True) else -1.0
    for index, row in enumerate(view.samples()):
        change = _change(row, pair, result.primary, sign)
        lot = hashlib.sha256(row.id.encode("utf-8", "surrogatepass")).hexdigest()
        yield Key(index, _status(row, pair, change), change, lot, _n_bytes(row))


def _change(row: SampleRow, pair: tuple[str | None, str | None], metric: str, sign: float) -> float:
    """Gain of the second arm over the first, 0 where one of them has no score."""
    before, after = (finite(row.scores.get(arm or "", {}).get(metric)) for arm in pair)
    return 0.0 if before is None or after is None else sign * (after - before)


def _status(row: SampleRow, pair: tuple[str | None, str | None], change: float) -> Status:
    arms = [arm for arm in pair if arm is not None]
    answers = [row.outputs.get(arm) for arm in arms]
    if any(arm in row.failures for arm in arms) or None in answers:
        return "failed"
    if change:
        return "worse" if change < 0 else "better"
    return "same" if len(set(answers)) < 2 else "different"


def _n_bytes(row: SampleRow) -> int:
    texts: Iterable[str | None] = (row.prompt, *row.references[:MOST_REFERENCES], *row.outputs.values())
    return sum(len((text or "")[:SHOWN_CHARACTERS].encode("utf-8", "replace")) + 8 for text in texts)


def _entry(row: SampleRow, arms: Sequence[str], metrics: Sequence[str]) -> Entry:
    return Entry(
        id=one_line(row.id),
        prompt=shown(row.prompt),
        references=[shown(text) for text in row.references[:MOST_REFERENCES]],
        metadata=_metadata(row),
        outputs=[_output(row, arm) for arm in arms],
        failures=[_failure(row, arm) for arm in arms],
        scores=[_scores(row.scores.get(arm, {}), metrics) for arm in arms],
    )


def _metadata(row: SampleRow) -> str:
    return shown(json.dumps(dict(row.metadata), ensure_ascii=False, default=str)) if row.metadata else ""


def _output(row: SampleRow, arm: str) -> str | None:
    text = row.outputs.get(arm)
    return None if text is None or arm in row.failures else shown(text)


def _failure(row: SampleRow, arm: str) -> str | None:
    if arm in row.failures:
        return one_line(row.failures[arm]) or "failed"
    return "no output" if row.outputs.get(arm) is None else None


def _scores(scores: Mapping[str, float | None], metrics: Sequence[str]) -> list[float | None]:
    found = (finite(scores.get(metric)) for metric in metrics)
    return [None if value is None else round(value, 4) for value in found]


def laid_out(viewer: Viewer, primary: int | None, higher: bool, most: int) -> list[Shown]:
    """The first samples of a page with their differences marked; primary: index of the primary metric."""
    pairs = zip(viewer.entries[:most], viewer.statuses, strict=False)
    return [_shown(entry, status, viewer, primary, higher) for entry, status in pairs]


def _shown(entry: Entry, status: Status, viewer: Viewer, primary: int | None, higher: bool) -> Shown:
    names = [arm for arm in (viewer.baseline, viewer.tuned) if arm in viewer.arms]
    target = _target(entry, viewer)
    sides = [_side(entry, viewer.arms.index(arm), arm, primary, target) for arm in names if arm is not None]
    scores = [side.score for side in sides]
    change = None
    if len(scores) == 2 and scores[0] is not None and scores[1] is not None:
        change = (scores[1] - scores[0]) * (1 if higher else -1)
    if entry["references"]:
        sides.append(_reference_side(entry, sides))
    return Shown(entry, status, change, tuple(sides))


def _target(entry: Entry, viewer: Viewer) -> str | None:
    """What answers are compared with: the first reference, or the baseline's answer where there is none."""
    if entry["references"]:
        return entry["references"][0]
    return entry["outputs"][viewer.arms.index(viewer.baseline)] if viewer.baseline in viewer.arms else None


def _side(entry: Entry, at: int, arm: str, primary: int | None, target: str | None) -> Side:
    text = entry["outputs"][at]
    score = entry["scores"][at][primary] if primary is not None else None
    if text is None:
        return Side(arm, (), entry["failures"][at], None)
    pieces = ((text, False),) if target is None else differences(text, target)
    return Side(arm, pieces, None, score)


def _reference_side(entry: Entry, sides: Sequence[Side]) -> Side:
    """The first reference, marked where the last arm shown (the tuned one) does not have its words."""
    answered = ["".join(text for text, _ in side.pieces) for side in sides[-1:] if side.failure is None]
    reference = entry["references"][0]
    pieces = differences(reference, answered[0]) if answered else ((reference, False),)
    n_more = len(entry["references"]) - 1
    return Side(f"reference (1 of {n_more + 1})" if n_more else "reference", pieces, None, None)


def payload(viewer: Viewer) -> dict[str, object]:
    """The entries as the page's script reads them."""
    return {
        "arms": [visible(arm) for arm in viewer.arms],
        "pair": [viewer.arms.index(arm) if arm in viewer.arms else -1 for arm in (viewer.baseline, viewer.tuned)],
        "rows": viewer.entries,
    }
