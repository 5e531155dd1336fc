"""Small finished runs to render: with tuning, without, judged, and with hostile text wherever text can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import JsonValue

from harness.core.licences import Corrected, JudgeCard, Validation
from harness.core.records import (
    AuditRecord,
    CheckpointRecord,
    Comparison,
    Conclusion,
    DataRecord,
    Estimate,
    EvaluationRecord,
    Finding,
    RunResult,
    SampleRow,
    Selection,
)
from harness.core.types import Split
from harness.testing.cards import corrected, full_card, validation

HOSTILE_MARKUP = "<script>document.title='owned'</script>"
HOSTILE_TEXT = f"{HOSTILE_MARKUP} \x1b[31m \u202e | `x` [l](javascript:1) {{{{ 7 * 7 }}}} \ud800"
_METRIC = "exact_match"


@dataclass(frozen=True)
class View:
    """A `RunView` made of values."""

    result: RunResult
    data: DataRecord
    audit: AuditRecord
    rows: tuple[SampleRow, ...]
    spec: Mapping[str, JsonValue]
    origins: Mapping[str, str]
    environment: Mapping[str, JsonValue]
    timings: Sequence[tuple[str, float]] = (("train", 1.5), ("evaluate", 0.5))
    reused: Sequence[tuple[str, int]] = (("evaluate base-0shot on test", 40),)
    looks: Sequence[str] = ("demo-lora-0123abcd", "demo-lora-4567cdef")
    judges: Sequence[JudgeCard] = ()
    corrected: Sequence[Corrected] = ()
    validation: Validation | None = None

    def samples(self) -> Iterator[SampleRow]:
        """Every test sample, in the data's order."""
        return iter(self.rows)


def finished_view() -> View:
    """Tuning helped; one sample of four went unanswered by the base."""
    return _view("words and more words", tuned=True)


def untuned_view() -> View:
    """Only the base was evaluated: no checkpoints, no selection, no comparison."""
    return _view("words and more words", tuned=False)


def judged_view() -> View:
    """A judge decided, and simulated annotators said what they think of it."""
    return _judged("words and more words")


def hostile_view() -> View:
    """A tuned and judged run whose every free text wants to be markup, or to act on a terminal."""
    return _judged(HOSTILE_TEXT)


def _view(text: str, *, tuned: bool) -> View:
    arms = ("base-0shot", "step-000002") if tuned else ("base-0shot",)
    return View(
        result=_result(text, arms, tuned=tuned),
        data=_data(),
        audit=_audit(text),
        rows=tuple(_row(number, text, arms) for number in range(4)),
        spec={"task": {"name": "trial", "summary": text}, "trainer": {"lr": 0.001}},
        origins={"task.summary": "task.toml", "trainer.lr": "typed"},
        environment={"python": "3.11.0", "words": [text]},
    )


def _judged(text: str) -> View:
    """The tuned run with a judge that may only advise as its metric, and labels on validation and on test."""
    view = _view(text, tuned=True)
    selection = replace(view.result.selection, judge=f"judge:{text}", grade="advisory", shortlist=(2,))
    result = replace(view.result, metrics=(_METRIC, f"judge:{text}"), primary=f"judge:{text}", selection=selection)
    return replace(
        view,
        result=result,
        judges=(full_card(text),),
        corrected=(corrected(0.25, f"judge:{text} of base-0shot"), corrected(0.75, f"judge:{text} of {text}")),
        validation=validation(text),
    )


def _row(number: int, text: str, arms: Sequence[str]) -> SampleRow:
    failed = {"base-0shot": f"generate: {text}"} if number == 3 else {}
    return SampleRow(
        id=f"sample-{number} {text}",
        prompt=f"Question {number}: {text}",
        references=(f"answer {text}", text),
        metadata={"language": text},
        outputs={arm: None if arm in failed else f"{arm} says {text}" for arm in arms},
        failures=failed,
        scores={arm: {_METRIC: None if arm in failed else float(arm != "base-0shot")} for arm in arms},
    )


def _result(text: str, arms: Sequence[str], *, tuned: bool) -> RunResult:
    test = [_evaluation(arm, "test", text) for arm in arms]
    validation = [_evaluation(arm, "validation", text) for arm in arms]
    return RunResult(
        task="trial",
        summary=text,
        run_id="demo-lora-0123abcd",
        model=text,
        trainer="lora" if tuned else "none",
        primary=_METRIC,
        metrics=(_METRIC,),
        higher_is_better={_METRIC: True},
        conclusion=_conclusion(text, tuned=tuned),
        evaluations=(*test, *validation),
        checkpoints=(CheckpointRecord(2, 1.0, "2b2b" * 16, 0.5, 0.8, 0.6, 0.7),) if tuned else (),
        selection=_selection(tuned=tuned),
        comparisons=(_comparison(),) if tuned else (),
        identity={"model": {"name": text}, "dtype": "float32"},
        trainer_reasons=(text,),
    )


def _estimate(value: float | None) -> Estimate:
    undefined = None if value is not None else "no sample has a score"
    low, high = (None, None) if value is None else (value - 0.1, value + 0.1)
    return Estimate(_METRIC, value, low, high, 4, 4, 0, f"{_METRIC}|harness:1", undefined)


def _evaluation(arm: str, split: Split, text: str) -> EvaluationRecord:
    step = int(arm[5:]) if arm.startswith("step-") else None
    value = 0.25 if step is None else 0.75
    return EvaluationRecord(
        arm=arm,
        split=split,
        shots=0,
        step=step,
        n=4,
        estimates=(_estimate(value),),
        draws={_METRIC: (value,)},
        slices={f"language={text}": (_estimate(None),)},
        failures={f"generate: {text}": 1} if step is None else {},
        finish_reasons={"stop": 3},
        mean_prompt_tokens=20.5,
        mean_output_tokens=4.0,
        adapter_sha256=None if step is None else "2b2b" * 16,
        adapter_max_logit_change=None if step is None else 1.5,
        alarms=(text,),
    )


def _conclusion(text: str, *, tuned: bool) -> Conclusion:
    said = "Tuning helped." if tuned else "Nothing was tuned."
    return Conclusion(
        sentence=f"{said} {text}",
        answer="better" if tuned else "cannot tell",
        ship="step-000002" if tuned else "base-0shot",
        coverage=0.75,
        coverage_met=False,
        caveats=(text,),
        next_steps=(text,),
    )


def _selection(*, tuned: bool) -> Selection:
    selection = Selection(_METRIC, "best", None, None, (), {}, None, "base-0shot", False, {})
    if not tuned:
        return selection
    scores = {"step-000002": _estimate(0.75)}
    return replace(selection, chosen_step=2, best_step=2, tied_steps=(2,), scores=scores, optimism=0.01)


def _comparison() -> Comparison:
    return Comparison(
        question="same prompt",
        candidate="step-000002",
        baseline="base-0shot",
        metric=_METRIC,
        candidate_value=0.75,
        baseline_value=0.25,
        delta=0.5,
        low=0.1,
        high=0.9,
        p=0.02,
        p_adjusted=0.02,
        test="exact McNemar",
        n=3,
        n_clusters=3,
        missing=1,
        bounds=(0.25, 0.75),
        wins=2,
        ties=1,
        losses=0,
        flips=(),
        smallest_effect=0.02,
        answer="better",
        n_needed=None,
        without_leaked=None,
    )


def _data() -> DataRecord:
    n_samples = {"train": 4, "validation": 2, "test": 4}
    return DataRecord({"data.jsonl": "c0ff" * 16}, 10, n_samples, {}, 0, "columns", {})


def _audit(text: str) -> AuditRecord:
    finding = Finding("E-LEAK", "warning", text, text, 1, (text,), ("sample-1",))
    return AuditRecord((finding,), ("sample-1",), {"train": {"median": 20.0, "max": 40.0}}, 0.4, text)
