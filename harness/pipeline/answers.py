"""Answers of finished runs as items that people can judge: whose they were, and to which sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import HarnessError
from harness.core.judging import Item, Pair, Single, text_hash
from harness.core.records import RunResult
from harness.core.types import Completion, Sample, Split, checkpoint_name
from harness.pipeline.arms import BASE
from harness.pipeline.generate import decode
from harness.store import layout
from harness.store.run import FinishedRun

REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class Answered:
    """What people may be asked about: items by who wrote them, and the sample that each answers.

    split: of the samples.
    """

    items: Mapping[str, tuple[Item, ...]]
    samples: Mapping[str, str]
    split: Split


def for_calibration(folder: Path, samples: Sequence[Sample], *, pairs: bool) -> Answered:
    """Validation answers of the untuned model, plain and best prompted, and of an early and the chosen checkpoint.

    With pairs, each answer beside the reference, as the judge will see them. Test answers are for the final round.
    """
    result = FinishedRun(folder).load(RunResult, layout.RESULT)
    return _answered(folder, _to_compare(result), "validation", samples, pairs=pairs)


def for_choosing(folder: Path, samples: Sequence[Sample], *, pairs: bool) -> Answered:
    """Validation answers of the checkpoints that a judge left to choose among, all on the same prompts.

    E-USAGE where there is no shortlist.
    """
    steps = FinishedRun(folder).load(RunResult, layout.RESULT).selection.shortlist
    if not steps:
        raise HarnessError(
            f"in {folder} no judge left a shortlist for people to choose from",
            fix="label for calibration (leave round= out), or the chosen checkpoint on test (round=final)",
        )
    return _answered(folder, [checkpoint_name(step) for step in steps], "validation", samples, pairs=pairs)


def for_validation(folder: Path, samples: Sequence[Sample], *, pairs: bool) -> Answered:
    """Test answers of the chosen candidate and its baseline; as pairs, the two beside each other.

    E-USAGE where nothing was compared.
    """
    result = FinishedRun(folder).load(RunResult, layout.RESULT)
    if not result.comparisons:
        raise HarnessError(
            f"{folder} compared nothing, so there is no claim for people to validate",
            fix="a final round needs a run with a tuned model, or with several prompts",
        )
    compared = result.comparisons[-1]
    sides = [compared.candidate, compared.baseline]
    if not pairs:
        return _answered(folder, sides, "test", samples, pairs=False)
    one, other = (_texts(folder, arm, "test", samples) for arm in sides)
    items: list[Item] = []
    sample_of: dict[str, str] = {}
    for sample in samples:
        if sample.id in one and sample.id in other:
            texts = (one[sample.id], other[sample.id])
            name = text_hash(sample.question, *texts)
            cluster = text_hash(sample.question)
            items.append(Pair(name, cluster, (sides[0], sides[1]), sample.question, texts, sample.references))
            sample_of[name] = sample.id
    return Answered({sides[0]: tuple(items)}, sample_of, "test")


def _to_compare(result: RunResult) -> list[str]:
    steps = [checkpoint.step for checkpoint in result.checkpoints]
    chosen = result.selection.chosen_step
    tuned = [] if not steps else [steps[0], steps[-1] if chosen in (None, steps[0]) else chosen]
    arms = [record.arm for record in result.evaluations if record.split == "validation"]
    untuned = [arm for arm in arms if arm.startswith(BASE)]
    best = result.selection.best_untuned
    plain = untuned[:1] + [arm for arm in untuned[1:] if arm == best or len(untuned) == 2]
    return list(dict.fromkeys([*plain, *(checkpoint_name(step) for step in tuned if step is not None)]))


def _answered(folder: Path, arms: Sequence[str], split: Split, samples: Sequence[Sample], *, pairs: bool) -> Answered:
    items: dict[str, tuple[Item, ...]] = {}
    sample_of: dict[str, str] = {}
    for arm in arms:
        texts = _texts(folder, arm, split, samples)
        made = [(sample, _item(sample, arm, texts[sample.id], pairs=pairs)) for sample in samples if sample.id in texts]
        items[arm] = tuple(item for _, item in made)
        sample_of |= {item.id: sample.id for sample, item in made}
    return Answered(items, sample_of, split)


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
