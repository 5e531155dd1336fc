"""Synthetic runs for the reporters' tests: built from the records alone, no model, no files, no clock."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
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
    Flip,
    RunResult,
    SampleRow,
    Selection,
    SliceComparison,
)

METRICS = ("rouge_l", "exact_match", "perplexity")
HIGHER = {"rouge_l": True, "exact_match": True, "perplexity": False}
ARMS = ("base-0shot", "base-4shot", "tuned")
STEPS = (50, 100, 150, 200, 250)
SAID = (
    "The Golden Curry serves cheap Indian food near Café Rouge by the river and welcomes families with a "
    "five star rating , while The Punter offers Italian dishes in the city centre for less than twenty pounds ."
)
WORDS = SAID.split()


@dataclass(frozen=True)
class View:
    """A RunView made of values."""

    result: RunResult
    spec: Mapping[str, JsonValue]
    origins: Mapping[str, str]
    data: DataRecord
    audit: AuditRecord
    environment: Mapping[str, JsonValue]
    timings: Sequence[tuple[str, float]]
    reused: Sequence[tuple[str, int]]
    rows: Sequence[SampleRow] = field(default=())
    looks: Sequence[str] = ("demo-lora-0a1b2c3d",)
    judges: Sequence[JudgeCard] = ()
    corrected: Sequence[Corrected] = ()
    validation: Validation | None = None

    def samples(self) -> Iterator[SampleRow]:
        """Every test sample, in the data's order."""
        return iter(self.rows)


def estimate(metric: str, value: float | None, n: int = 200, failures: int = 0) -> Estimate:
    """An estimate with an interval of ±0.03."""
    low, high = (None, None) if value is None else (value - 0.03, value + 0.03)
    undefined = "no sample has a score" if value is None else None
    return Estimate(metric, value, low, high, n, n, failures, f"{metric}|case:mixed|version:1.0", undefined)


def evaluation(arm: str, values: Sequence[float | None], *, split: str = "test", n: int = 200) -> EvaluationRecord:
    """An arm's record; `tuned` and `step-…` arms have an adapter."""
    step = 150 if arm == "tuned" else int(arm[5:]) if arm.startswith("step-") else None
    shots = 4 if arm.endswith("4shot") else 0
    estimates = tuple(estimate(metric, value, n) for metric, value in zip(METRICS, values, strict=True))
    draws = {"rouge_l": (0.4012, 0.4222, 0.4391)} if shots else {"rouge_l": (values[0],)}
    return EvaluationRecord(
        arm=arm,
        split="validation" if split == "validation" else "test",
        shots=shots,
        step=step,
        n=n,
        estimates=estimates,
        draws=draws,
        slices={f"language={name}": (estimate("rouge_l", values[0], n // 4),) for name in ("en", "fr")},
        failures={"prompt too long": 2} if step is None else {},
        finish_reasons={"stop": n - 3, "length": 3},
        mean_prompt_tokens=81.4 + 210 * bool(shots),
        mean_output_tokens=23.9,
        adapter_sha256="a3f1" * 16 if step is not None else None,
        adapter_max_logit_change=4.8125 if step is not None else None,
        alarms=("4 % of the answers ended at the length limit",) if shots else (),
        instruction="Describe it warmly." if arm == "base-4shot" else None,
        parts={"exact_match": (estimate("precision of 'fr'", 0.3123, n), estimate("recall of 'fr'", None, n))},
    )


def comparison(question: str, baseline: str, delta: float, p: float) -> Comparison:
    """Tuned against one untuned arm."""
    best = question == "best untuned"
    return Comparison(
        question="best untuned" if best else "same prompt",
        candidate="tuned",
        baseline=baseline,
        metric="rouge_l",
        candidate_value=0.8,
        baseline_value=0.8 - delta,
        delta=delta,
        low=delta - 0.0312,
        high=delta + 0.0298,
        p=p,
        p_adjusted=p * 2,
        test="paired permutation, 10000 draws",
        n=198,
        n_clusters=198,
        missing=2,
        bounds=(delta - 0.01, delta + 0.01),
        wins=121,
        ties=38,
        losses=39,
        flips=(Flip("s-0003", 1.0, 0.0),),
        smallest_effect=0.02,
        answer="better" if p < 0.05 else "cannot tell",
        n_needed=None if p < 0.05 else 1450,
        without_leaked=without_leaked(delta) if best else None,
    )


def slice_comparison(name: str, metric: str, delta: float) -> SliceComparison:
    """The tuned arm against the untuned one on one slice."""
    return SliceComparison(
        field="language",
        value=name,
        metric=metric,
        candidate_value=0.5 + delta,
        baseline_value=0.5,
        delta=delta,
        low=delta - 0.0411,
        high=delta + 0.0422,
        p=0.0021,
        p_adjusted=0.0042,
        n=50,
        n_clusters=48,
        smallest_effect=0.02,
        answer="better" if delta > 0 else "worse",
    )


def without_leaked(delta: float) -> dict[str, float | int | str | None]:
    """The comparison again, on the rows that are not in training."""
    ends = {"delta": delta - 0.021, "low": delta - 0.06, "high": delta + 0.02, "p": 0.47}
    return {"n": 171, "n_left_out": 29, "candidate": 0.5204, "baseline": 0.5102, "answer": "cannot tell", **ends}


def checkpoint(step: int) -> CheckpointRecord:
    """A point on curves that overfit after step 150."""
    past = step / 50
    validation = 1.9 - 0.28 * past + 0.042 * past * past
    return CheckpointRecord(
        step, step / 100, f"{step:04x}" * 16, 2.1 * 0.72**past, 0.50 + 0.06 * past, validation, 0.49 + 0.05 * past
    )


def selection() -> Selection:
    """Step 150 is chosen, step 200 scored best."""
    scores = dict(zip(STEPS, (0.431, 0.488, 0.531, 0.539, 0.522), strict=True))
    return Selection(
        metric="rouge_l",
        rule="the earliest checkpoint within one standard error of the best",
        chosen_step=150,
        best_step=200,
        tied_steps=(150, 200, 250),
        scores={f"step-{step:06d}": estimate("rouge_l", score, 100) for step, score in scores.items()},
        optimism=0.0071,
        best_untuned="base-4shot",
        no_signal=False,
        excluded={"step-000250": "validation coverage 91 % is below 95 %"},
    )


def conclusion() -> Conclusion:
    """A clear success with something to mind."""
    return Conclusion(
        sentence=(
            "Tuning helped: rouge_l rose from 0.408 to 0.531 on 198 test samples "
            "(+0.123, 95 % interval +0.092 to +0.153, p < 0.0001). Ship step-000150."
        ),
        answer="better",
        ship="step-000150",
        coverage=0.99,
        coverage_met=True,
        caveats=("29 of 200 test samples are also in training: without them the gain is +0.102.",),
        next_steps=("Remove the leaked rows: harness audit task=e2e", "Label 100 answers: harness label run=e2e/7f3a"),
    )


def result(n: int = 200, extra_arms: int = 0) -> RunResult:
    """A finished run over n test samples."""
    test = [
        evaluation("base-0shot", (0.4081234, 0.02, 8.31), n=n),
        evaluation("base-4shot", (0.4212, 0.035, 7.72), n=n),
        evaluation("tuned", (0.5311, 0.145, 4.07), n=n),
        *(evaluation(f"base-0shot-{index}", (0.4, 0.02, 8.0), n=n) for index in range(extra_arms)),
    ]
    validation = [evaluation("base-4shot", (0.43, 0.03, 7.7), split="validation", n=100)]
    return RunResult(
        task="e2e_nlg",
        summary="Describe a restaurant from its slots.",
        run_id="7f3a9c21",
        model="embedded-3m",
        trainer="lora",
        primary="rouge_l",
        metrics=METRICS,
        higher_is_better=HIGHER,
        conclusion=conclusion(),
        evaluations=(*test, *validation),
        checkpoints=tuple(checkpoint(step) for step in STEPS),
        selection=selection(),
        comparisons=(
            comparison("same prompt", "base-0shot", 0.1230, 0.00002),
            comparison("best untuned", "base-4shot", 0.0312, 0.061),
        ),
        identity={"model_sha256": "9be1" * 16, "dtype": "float32", "versions": {"torch": "2.13.0", "peft": "0.21.2"}},
        slices=(
            slice_comparison("en", "rouge_l", 0.1701),
            slice_comparison("fr", "rouge_l", -0.0917),
            slice_comparison("fr", "exact_match", -0.2),
        ),
        trainer_settings={"rank": 8, "lr": 0.0002},
        trainer_reasons=("rank 8: 900 rows on a small model",),
    )


def sentence(rng: np.random.Generator, low: int = 14, high: int = 26) -> str:
    """A few words."""
    return " ".join(rng.choice(WORDS, rng.integers(low, high)))


def answer(rng: np.random.Generator, reference: str, share: float) -> str:
    """The reference with a share of its words replaced."""
    return " ".join(str(rng.choice(WORDS)) if rng.random() < share else word for word in reference.split())


def row(index: int, rng: np.random.Generator, arms: Sequence[str], chars: int = 0) -> SampleRow:
    """A sample whose tuned answer is mostly nearer to the reference; each 37th has no baseline answer."""
    reference = sentence(rng)
    outputs: dict[str, str | None] = {
        arm: answer(rng, reference, 0.25 if arm == "tuned" else 0.45) + "x" * chars for arm in arms
    }
    failures = {}
    if index % 37 == 5:
        outputs["base-0shot"], failures["base-0shot"] = None, "prompt too long: 530 tokens of 512"
    scores = {arm: _scores(outputs[arm], reference) for arm in arms}
    prompt = f"Describe: name[The Golden Curry], food[{rng.choice(WORDS)}], area[riverside], number[{index}]"
    return SampleRow(f"s-{index:04d}", prompt, (reference,), {"language": "en"}, outputs, failures, scores)


def _scores(output: str | None, reference: str) -> dict[str, float | None]:
    if output is None:
        return dict.fromkeys(METRICS)
    pairs = list(zip(output.split(), reference.split(), strict=False))
    same = sum(ours == theirs for ours, theirs in pairs) / max(len(pairs), 1)
    return {"rouge_l": same, "exact_match": float(output == reference), "perplexity": 9.0 - 5 * same}


def findings() -> tuple[Finding, ...]:
    """One of each severity."""
    leak = ("data.jsonl:12 (s-0003): same question as data.jsonl:840 (t-0811)",)
    return (
        Finding("E-LEAK", "warning", "29 test samples are also in training.", "drop them", 29, leak, ("s-0003",)),
        Finding("E-TOOLONG", "fatal", "2 prompts are longer than the context.", "raise context", 2, ()),
        Finding("N-SHORT", "note", "The references are short.", "nothing to do", 1, ("data.jsonl:9 (s-1): Yes",)),
    )


def view(n: int = 200, *, extra_arms: int = 0, chars: int = 0, seed: int = 7) -> View:
    """A run like a real one. chars: characters added to every answer."""
    rng = np.random.default_rng(seed)
    arms = (*ARMS, *(f"base-0shot-{index}" for index in range(extra_arms)))
    return View(
        result=result(n, extra_arms),
        spec={
            "task": "e2e_nlg",
            "trainer": {"name": "lora", "rank": 16, "learning_rate": 0.0002},
            "prompting": {"shots": [0, 4], "system": "Write one sentence."},
            "metrics": {"primary": "rouge_l", "smallest_effect": 0.02},
        },
        origins={
            "task": "command line",
            "trainer.rank": "command line",
            "prompting": "task.toml",
            "trainer": "default",
        },
        data=DataRecord(
            files={"data.jsonl": "c0ff" * 16},
            n_rows=1210,
            n_samples={"train": 900, "validation": 100, "test": 200},
            n_dropped={"duplicate": 10},
            n_blank_lines=1,
            format="messages",
            sha256={"train": "11aa" * 16, "validation": "22bb" * 16, "test": "33cc" * 16},
        ),
        audit=AuditRecord(
            findings(), ("s-0003", "s-0007"), {"train": {"median": 88.0, "max": 402.0}}, 0.031, "80 % power"
        ),
        environment={
            "python": "3.11.7",
            "device": {"kind": "cpu", "threads": 2},
            "host": "box-17",
            "argv": ["/home/someone/harness", "run"],
            "origins": {"task": "command line"},
        },
        timings=(("audit", 0.82), ("baselines", 41.3), ("train", 128.44), ("evaluate", 66.1)),
        reused=(("evaluate base-0shot on validation", 16),),
        rows=tuple(row(index, rng, arms, chars) for index in range(n)),
    )


def empty() -> View:
    """The smallest run there can be: every Optional None, every sequence empty."""
    nothing = Selection("rouge_l", "", None, None, (), {}, None, None, False, {})
    told = Conclusion("Nothing can be said.", None, "nothing", 0.0, False, (), ())
    run = RunResult("t", "", "r", "m", "lora", "rouge_l", (), {}, told, (), (), nothing, (), {})
    data = DataRecord({}, 0, {}, {}, 0, "", {})
    return View(run, {}, {}, data, AuditRecord((), (), {}, None, ""), {}, (), ())


Record = TypeVar("Record")


def without(record: Record) -> Record:
    """The same record with every Optional field None, all the way down."""
    changes: dict[str, object] = {}
    for each in dataclasses.fields(record):
        value = getattr(record, each.name)
        if str(each.type).endswith("| None"):
            changes[each.name] = None
        elif dataclasses.is_dataclass(value):
            changes[each.name] = without(value)
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            changes[each.name] = tuple(without(item) for item in value)
    return dataclasses.replace(record, **changes)
