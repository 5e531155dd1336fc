"""Labels to items, items to verdicts: every item gets a verdict or a reason why it has none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from harness.core.errors import HarnessError
from harness.core.judging import Item, Label, Pair, Single, Verdict
from harness.core.protocols import Generator, Judge, Progress
from harness.core.types import Failure
from harness.data.display import escape, quote

NO_NUMBER = Failure("judge", "the score is not a number from 0 to 1")
NO_VERDICT = Failure("judge", "the judge said nothing of this item")


def items_of(labels: Sequence[Label]) -> tuple[Item, ...]:
    """What the labels judged, each once, in the order of their first label; an item's id is `Label.item`."""
    first = {label.item: label for label in reversed(labels)}
    return tuple(item_of(first[key]) for key in dict.fromkeys(label.item for label in labels))


def item_of(label: Label) -> Item:
    """What one label judged."""
    if label.kind == "pair":
        answers, systems = (label.answers[0], label.answers[1]), (label.systems[0], label.systems[1])
        return Pair(label.item, label.cluster, systems, label.question, answers, label.references)
    return Single(label.item, label.cluster, label.systems[0], label.question, label.answers[0], label.references)


def rate(
    judge: Judge, items: Sequence[Item], generator: Generator, progress: Progress
) -> Mapping[str, Verdict | Failure]:
    """Item id -> the judge's verdict, or why there is none, for every item and in the items' order.

    A verdict that is no number is a failure; an item of which the judge says nothing, too. HarnessError E-JUDGE where
    the judge takes pairs and these are single answers, or the other way round.
    """
    for item in items:
        _require_kind(judge, item)
    unique = {item.id: item for item in items}
    verdicts: dict[str, Verdict | Failure] = {}
    for done, (key, verdict) in enumerate(judge.rate(tuple(unique.values()), generator), start=1):
        verdicts[key] = _checked(verdict)
        progress(done, len(unique), "")
    return {key: verdicts.get(key, NO_VERDICT) for key in unique}


def failures_of(verdicts: Mapping[str, Verdict | Failure]) -> dict[str, int]:
    """Reasons for missing verdicts, safe to show, with how many items each cost; the most frequent first."""
    counts: dict[str, int] = {}
    for verdict in verdicts.values():
        if isinstance(verdict, Failure):
            reason = escape(f"{verdict.stage}: {verdict.reason}")
            counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))


def _require_kind(judge: Judge, item: Item) -> None:
    if (judge.takes == "pair") != isinstance(item, Pair):
        others = "single answers" if judge.takes == "pair" else "pairs"
        raise HarnessError(
            f"judge {quote(judge.name)} takes {'pairs' if judge.takes == 'pair' else 'single answers'}, "
            f"and the labels are of {others}",
            fix="give it labels of its own kind, or choose another kind of judge (`harness list judges`)",
            code="E-JUDGE",
        )


def _checked(verdict: Verdict | Failure) -> Verdict | Failure:
    """A verdict that calibration can use: finite features, and a score within its bounds if it has one."""
    if isinstance(verdict, Failure):
        return verdict
    usable = bool(verdict.features) and all(math.isfinite(feature) for feature in verdict.features)
    return verdict if usable and (math.isnan(verdict.score) or 0 <= verdict.score <= 1) else NO_NUMBER
