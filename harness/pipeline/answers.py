"""Answers of finished runs as items that people can judge: whose they were, and to which sample."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from harness.core.errors import HarnessError
from harness.core.judging import Item, Pair, Single, text_hash
from harness.core.records import RunResult
from harness.core.specs import JUDGE_PREFIX
from harness.core.types import Completion, Sample, Split, checkpoint_name
from harness.pipeline.arms import BASE
from harness.pipeline.outcomes import decode
from harness.pipeline.parts import judge_for, verdicts, win_score
from harness.store import layout
from harness.store.run import FinishedRun
from harness.store.view import StoredView

REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class Answered:
    """What people may be asked about: items by who wrote them, and the sample that each answers.

    split: of the samples. scores: what the run's judge of the criterion said, by item; of none without such a judge.
    """

    items: Mapping[str, tuple[Item, ...]]
    samples: Mapping[str, str]
    split: Split
    scores: Mapping[str, float] = field(default_factory=dict)


# Whose answer -> sample id -> the judge's score.
Scores: TypeAlias = Mapping[str, Mapping[str, float]]


def for_calibration(folder: Path, samples: Sequence[Sample], *, pairs: bool, criterion: str = "") -> Answered:
    """Validation answers of the untuned model, plain and best prompted, and of an early and the chosen checkpoint.

    With pairs, each answer beside the reference, as the judge will see them. Test answers are for the final round.
    """
    view = StoredView(folder)
    arms = _to_compare(view.result)
    scores = _on_validation(folder, view, arms, samples, criterion)
    return _answered(folder, arms, "validation", samples, scores, pairs=pairs)


def for_choosing(folder: Path, samples: Sequence[Sample], *, pairs: bool, criterion: str = "") -> Answered:
    """Validation answers of the checkpoints that a judge left to choose among, all on the same prompts.

    E-USAGE where there is no shortlist.
    """
    view = StoredView(folder)
    steps = view.result.selection.shortlist
    if not steps:
        raise HarnessError(
            f"in {folder} no judge left a shortlist for people to choose from",
            fix="label for calibration (leave round= out), or the chosen checkpoint on test (round=final)",
        )
    arms = [checkpoint_name(step) for step in steps]
    scores = _on_validation(folder, view, arms, samples, criterion)
    return _answered(folder, arms, "validation", samples, scores, pairs=pairs)


def for_validation(folder: Path, samples: Sequence[Sample], *, pairs: bool, criterion: str = "") -> Answered:
    """Test answers of the chosen candidate and its baseline; as pairs, the two beside each other.

    E-USAGE where nothing was compared.
    """
    view = StoredView(folder)
    if not view.result.comparisons:
        raise HarnessError(
            f"{folder} compared nothing, so there is no claim for people to validate",
            fix="a final round needs a run with a tuned model, or with several prompts",
        )
    compared = view.result.comparisons[-1]
    sides = (compared.candidate, compared.baseline)
    judge = judge_for(view.judges, criterion)
    said = verdicts(view.samples(), judge.judge, sides) if judge is not None else {}
    if not pairs:
        scores = {side: {name: both[at] for name, both in said.items()} for at, side in enumerate(sides)}
        return _answered(folder, sides, "test", samples, scores, pairs=False)
    one, other = (_texts(folder, arm, "test", samples) for arm in sides)
    items: list[Item] = []
    sample_of: dict[str, str] = {}
    for sample in samples:
        if sample.id in one and sample.id in other:
            texts = (one[sample.id], other[sample.id])
            name = text_hash(sample.question, *texts)
            cluster = text_hash(sample.question)
            items.append(Pair(name, cluster, sides, sample.question, texts, sample.references))
            sample_of[name] = sample.id
    by_item = {item: win_score(said[name]) for item, name in sample_of.items() if name in said}
    return Answered({sides[0]: tuple(items)}, sample_of, "test", by_item)


def _to_compare(result: RunResult) -> list[str]:
    steps = [checkpoint.step for checkpoint in result.checkpoints]
    chosen = result.selection.chosen_step
    tuned = [] if not steps else [steps[0], steps[-1] if chosen in (None, steps[0]) else chosen]
    arms = [record.arm for record in result.evaluations if record.split == "validation"]
    untuned = [arm for arm in arms if arm.startswith(BASE)]
    best = result.selection.best_untuned
    plain = untuned[:1] + [arm for arm in untuned[1:] if arm == best or len(untuned) == 2]
    return list(dict.fromkeys([*plain, *(checkpoint_name(step) for step in tuned if step is not None)]))


def _on_validation(
    folder: Path, view: StoredView, arms: Sequence[str], samples: Sequence[Sample], criterion: str
) -> Scores:
    """What the judge said of each arm's validation answers, of several draws the first; nothing without a judge."""
    judge = judge_for(view.judges, criterion)
    if judge is None or JUDGE_PREFIX + judge.judge not in view.result.metrics:
        return {}
    run, place = FinishedRun(folder), view.result.metrics.index(JUDGE_PREFIX + judge.judge)
    found: dict[str, Mapping[str, float]] = {}
    for arm in arms:
        name = f"{layout.evaluation(arm, 'validation')}/{layout.STATISTICS}"
        if run.has(name):
            stacked = np.load(io.BytesIO(run.read(name)), allow_pickle=False)
            score_N = stacked[0, :, sum(run.load(list[int], f"{name}.json")[:place])].tolist()
            said = zip(samples, score_N, strict=True)
            found[arm] = {sample.id: score for sample, score in said if math.isfinite(score)}
    return found


def _answered(
    folder: Path, arms: Sequence[str], split: Split, samples: Sequence[Sample], scores: Scores, *, pairs: bool
) -> Answered:
    items: dict[str, tuple[Item, ...]] = {}
    sample_of: dict[str, str] = {}
    by_item: dict[str, float] = {}
    for arm in arms:
        texts = _texts(folder, arm, split, samples)
        made = [(sample, _item(sample, arm, texts[sample.id], pairs=pairs)) for sample in samples if sample.id in texts]
        items[arm] = tuple(item for _, item in made)
        sample_of |= {item.id: sample.id for sample, item in made}
        said = scores.get(arm, {})
        by_item |= {item.id: said[sample.id] for sample, item in made if sample.id in said}
    return Answered(items, sample_of, split, by_item)


def _item(sample: Sample, arm: str, answer: str, *, pairs: bool) -> Item:
    cluster = text_hash(sample.question)
    if pairs:
        texts = (answer, sample.references[0])
        name = text_hash(sample.question, *texts)
        return Pair(name, cluster, (arm, REFERENCE), sample.question, texts, sample.references)
    return Single(text_hash(sample.question, answer), cluster, arm, sample.question, answer, sample.references)


def _texts(folder: Path, arm: str, split: Split, samples: Sequence[Sample]) -> dict[str, str]:
    """Sample id -> what the arm answered; of an arm of several draws, the first."""
    run = FinishedRun(folder)
    names = (f"{layout.evaluation(name, split)}/{layout.OUTCOMES}" for name in (arm, f"{arm}-draw0"))
    file = next((name for name in names if run.has(name)), None)
    if file is None:
        raise HarnessError(f"{folder} has no {split} answers of {arm}", fix="name a finished run", code="E-NORUN")
    outcomes = decode(run.read(file))
    if len(outcomes) != len(samples):
        raise HarnessError(
            f"the task's {split} samples are no longer those of {folder}",
            fix="bring the data back as it was, or label the answers of a newer run",
            code="E-DRIFT",
        )
    pairs = zip(samples, outcomes, strict=True)
    return {sample.id: outcome.text for sample, outcome in pairs if isinstance(outcome, Completion)}
