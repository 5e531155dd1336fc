"""Records: what happened, as it is written to the run folder and read back for reports.

All are plain frozen dataclasses of JSON values. None carries a time, host, path or duration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from harness.core.types import Split

Answer = Literal["better", "worse", "no difference worth having", "cannot tell"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What we claim of one number: never without its interval, its n, its failures and its signature.

    low, high: 95 % bootstrap interval; None (with value) where undefined, and `undefined` says why.
    n: samples that entered; n_clusters: resampling units (equal to n without groups).
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    n_clusters: int
    failures: int
    signature: str
    undefined: str | None = None


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """One arm on one split.

    draws: per metric the value of each draw of shots (a single one for zero-shot and tuned arms).
    instruction: the wording used in place of the task's own, if another was.
    slices: per "field=value" the estimates on that subset.
    parts: per metric the estimates of its components ("precision of 'billing'"), where it has any.
    failures, finish_reasons: counts by reason, over all draws.
    alarms: sentences about outputs that look wrong (S-table of silent failures).
    """

    arm: str
    split: Split
    shots: int
    step: int | None
    n: int
    estimates: tuple[Estimate, ...]
    draws: Mapping[str, tuple[float | None, ...]]
    slices: Mapping[str, tuple[Estimate, ...]]
    failures: Mapping[str, int]
    finish_reasons: Mapping[str, int]
    mean_prompt_tokens: float
    mean_output_tokens: float
    adapter_sha256: str | None
    adapter_max_logit_change: float | None
    alarms: tuple[str, ...] = ()
    instruction: str | None = None
    parts: Mapping[str, tuple[Estimate, ...]] = field(default_factory=dict)

    def estimate(self, metric: str) -> Estimate:
        """The estimate of one metric, by name."""
        return next(estimate for estimate in self.estimates if estimate.metric == metric)

    def unscored(self, metric: str) -> int:
        """Samples that some metric could score in all draws and this one could not: a judge had no verdict on them."""
        fewest = min(estimate.failures for estimate in self.estimates)
        return self.estimate(metric).failures - fewest


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """Training curves at one checkpoint; see `Checkpoint` for the meaning of the figures."""

    step: int
    epoch: float
    sha256: str
    train_loss: float | None
    train_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which checkpoint was chosen on validation, by which rule, and how optimistic its validation score is.

    best_step has the highest score; chosen_step is the earliest checkpoint within one standard error of it.
    optimism: expected excess of the best validation score over its true value, in the metric's unit.
    chosen_step, best_step: None where nothing was tuned. rule: of SelectSpec, or "recorded" where a rescore had to keep
    the checkpoint that was asked the test samples.
    best_untuned: the untuned arm with the best validation score; None where nothing was measured on validation.
    excluded: arms that could not be chosen, with the reason.
    judge: the judge that the task names as its primary metric; grade: what it was licensed to do; empty without one.
    shortlist: the steps that a judge left to choose among; empty where it chose alone, or was not asked.
    by_people: validation samples on which people's labels chose from the shortlist; 0 where the metric did.
    """

    metric: str
    rule: str
    chosen_step: int | None
    best_step: int | None
    tied_steps: tuple[int, ...]
    scores: Mapping[str, Estimate]
    optimism: float | None
    best_untuned: str | None
    no_signal: bool
    excluded: Mapping[str, str]
    judge: str = ""
    grade: str = ""
    shortlist: tuple[int, ...] = ()
    by_people: int = 0


@dataclass(frozen=True, slots=True)
class Flip:
    """A sample whose score changed between the two sides of a comparison."""

    id: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Tuned against one untuned arm on test, paired by sample; without tuning, the best prompt against zero-shot.

    delta: candidate minus baseline, signed so that positive is better. n: samples both sides have, and the two
    values are over exactly these.
    bounds: delta if every missing sample were as bad, or as good, for the candidate as can be.
    without_leaked: the same comparison over the test samples that stand in no other split; None without leaks.
    n_needed: samples that would have told a difference of `smallest_effect`, when the answer is "cannot tell".
    """

    question: Literal["same prompt", "best untuned", "best prompt"]
    candidate: str
    baseline: str
    metric: str
    candidate_value: float | None
    baseline_value: float | None
    delta: float | None
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None
    test: str
    n: int
    n_clusters: int
    missing: int
    bounds: tuple[float, float] | None
    wins: int
    ties: int
    losses: int
    flips: tuple[Flip, ...]
    smallest_effect: float
    answer: Answer
    n_needed: int | None
    without_leaked: Mapping[str, float | int | str | None] | None


@dataclass(frozen=True, slots=True)
class SliceComparison:
    """Candidate against baseline (the first comparison's two sides) on the test samples of one slice, by one metric.

    delta is signed so that positive is better. p_adjusted: Holm over all slices of this metric.
    smallest_effect: the task's for the primary metric, 2 % of its range for any other.
    """

    field: str
    value: str
    metric: str
    candidate_value: float | None
    baseline_value: float | None
    delta: float | None
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None
    n: int
    n_clusters: int
    smallest_effect: float
    answer: Answer

    @property
    def name(self) -> str:
        """The slice as `EvaluationRecord.slices` names it."""
        return f"{self.field}={self.value}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the audit noticed. `fatal` findings block the run.

    examples: up to five escaped one-line examples "file:line (id): what was found"; count: all of them.
    ids: sample ids concerned (all of them, for reports and for leaving leaked rows out).
    """

    code: str
    severity: Literal["fatal", "warning", "note"]
    what: str
    fix: str
    count: int
    examples: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DataRecord:
    """What was read: files with hashes, rows per split, and what was left out and why. The accounts close.

    files: name -> hash of its bytes; of a data set on the Hub, its commit and the hash of its rows.
    n_dropped: by code of what was wrong, or by the setting that leaves rows out (data.where, data.train_where).
    format: how the rows were written. sha256: of the samples by split, however and wherever they were written.
    """

    files: Mapping[str, str]
    n_rows: int
    n_samples: Mapping[str, int]
    n_dropped: Mapping[str, int]
    n_blank_lines: int
    format: str
    sha256: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """The audit's findings, what it counted, and the smallest effect this test set can detect."""

    findings: tuple[Finding, ...]
    leaked_test_ids: tuple[str, ...]
    token_lengths: Mapping[str, Mapping[str, float]]
    minimum_detectable_effect: float | None
    mde_assumption: str

    @property
    def fatal(self) -> tuple[Finding, ...]:
        """The findings that block a run."""
        return tuple(finding for finding in self.findings if finding.severity == "fatal")


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The run's first line: did tuning help, by how much, can it be trusted, which checkpoint to ship.

    answer: None where nothing was compared.
    """

    sentence: str
    answer: Answer | None
    ship: str
    coverage: float
    coverage_met: bool
    caveats: tuple[str, ...]
    next_steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunResult:
    """Everything a run concluded, with the records it rests on; `result.json`.

    trainer_settings: as they were trained with, after the trainer settled what depends on the data;
    trainer_reasons: why, where it decided anything.
    """

    task: str
    summary: str
    run_id: str
    model: str
    trainer: str
    primary: str
    metrics: tuple[str, ...]
    higher_is_better: Mapping[str, bool]
    conclusion: Conclusion
    evaluations: tuple[EvaluationRecord, ...]
    checkpoints: tuple[CheckpointRecord, ...]
    selection: Selection
    comparisons: tuple[Comparison, ...]
    identity: Mapping[str, JsonValue]
    slices: tuple[SliceComparison, ...] = ()
    trainer_settings: Mapping[str, JsonValue] = field(default_factory=dict)
    trainer_reasons: tuple[str, ...] = ()

    def evaluation(self, arm: str, split: Split) -> EvaluationRecord:
        """The record of one arm on one split."""
        return next(record for record in self.evaluations if record.arm == arm and record.split == split)


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One test sample with what every arm answered, for the report and `results.parquet`.

    outputs: arm -> text (first draw), or None where it failed (`failures` says why).
    scores: arm -> metric -> per-sample score averaged over draws, None where undefined.
    group: what the sample shares with others, if anything; they are resampled together.
    """

    id: str
    prompt: str
    references: tuple[str, ...]
    metadata: Mapping[str, JsonValue]
    outputs: Mapping[str, str | None]
    failures: Mapping[str, str]
    scores: Mapping[str, Mapping[str, float | None]]
    group: str | None = None
