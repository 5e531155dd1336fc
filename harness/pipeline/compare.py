"""The one comparison on test: the chosen checkpoint against the untuned model, twice asked.

Against the untuned model with the same prompt (what did tuning change?) and against the best untuned candidate (was
it worth it?). Paired by sample, over the samples that both sides answered; Holm over the baselines decides.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.core.protocols import AnyMetric
from harness.core.records import Comparison, Flip
from harness.core.types import BoolArray
from harness.pipeline.draws import additive, resamples_for
from harness.pipeline.estimates import clusters_of, rng_for
from harness.pipeline.evaluate import TestEvaluation
from harness.stats.decision import decide
from harness.stats.multiplicity import holm
from harness.stats.paired import Paired
from harness.stats.paired import compare as paired
from harness.stats.power import samples_needed

# Scores this close differ by rounding; nan differs from nothing.
_SAME_SCORE = 1e-9

Question = Literal["same prompt", "best untuned", "best prompt"]


@dataclass(frozen=True)
class Comparing:
    """What all comparisons of a run share. leaked: ids of test samples that also stand in train or
    validation.
    """

    metric: AnyMetric
    smallest_effect: float
    leaked: Collection[str]
    seed: int
    n_resamples: int

    def compare(
        self, tuned: TestEvaluation, same_prompt: TestEvaluation, best_untuned: TestEvaluation | None
    ) -> tuple[Comparison, ...]:
        """Both questions. Where the best untuned candidate is the same prompt, one test answers both.

        best_untuned: None where validation chose none; then only the first question is asked.
        """
        asked: list[tuple[Question, TestEvaluation]] = [("same prompt", same_prompt)]
        if best_untuned is not None:
            asked.append(("best untuned", best_untuned))
        return self._asked(tuned, asked)

    def prompts(self, best: TestEvaluation, zero_shot: TestEvaluation) -> tuple[Comparison, ...]:
        """Where nothing was tuned: the best prompt against the plain one; nothing where they are one."""
        return () if best.arm.name == zero_shot.arm.name else self._asked(best, [("best prompt", zero_shot)])

    def _asked(self, tuned: TestEvaluation, asked: Sequence[tuple[Question, TestEvaluation]]) -> tuple[Comparison, ...]:
        baselines = {evaluation.arm.name: evaluation for _, evaluation in asked}
        tests = {name: self._paired(tuned, baseline, None) for name, baseline in baselines.items()}
        adjusted = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
        return tuple(
            self._comparison(
                question, tuned, baseline, tests[baseline.arm.name], adjusted[baseline.arm.name], len(tests)
            )
            for question, baseline in asked
        )

    def _comparison(
        self,
        question: Question,
        tuned: TestEvaluation,
        baseline: TestEvaluation,
        test: Paired,
        p_adjusted: float | None,
        n_tests: int,
    ) -> Comparison:
        answer = decide(
            delta=test.delta,
            low=test.low,
            high=test.high,
            p_adjusted=p_adjusted,
            smallest_effect=self.smallest_effect,
        )
        missing = len(tuned.samples) - test.n
        return Comparison(
            question=question,
            candidate=tuned.arm.name,
            baseline=baseline.arm.name,
            metric=self.metric.name,
            candidate_value=self._value(tuned, self._used(tuned, baseline)),
            baseline_value=self._value(baseline, self._used(tuned, baseline)),
            delta=test.delta,
            low=test.low,
            high=test.high,
            p=test.p,
            p_adjusted=p_adjusted,
            test=test.test,
            n=test.n,
            n_clusters=test.n_clusters,
            missing=missing,
            bounds=self._bounds(test, missing),
            wins=test.wins,
            ties=test.ties,
            losses=test.losses,
            flips=self._flips(tuned, baseline, test),
            smallest_effect=self.smallest_effect,
            answer=answer,
            n_needed=self._n_needed(test) if answer == "cannot tell" else None,
            without_leaked=self._without_leaked(tuned, baseline, n_tests),
        )

    def _paired(self, tuned: TestEvaluation, baseline: TestEvaluation, keep: BoolArray | None) -> Paired:
        used = self._used(tuned, baseline)
        used = used if keep is None else used & keep
        arms = [tuned.drawn(self.metric), baseline.drawn(self.metric)]
        metric, (candidate, other) = additive(self.metric, arms, used)
        return paired(
            metric,
            candidate,
            other,
            clusters=clusters_of([sample for sample, kept in zip(tuned.samples, used, strict=True) if kept]),
            n_resamples=resamples_for(self.metric, self.n_resamples),
            rng=rng_for(self.seed, f"compare {baseline.arm.name} {keep is None}"),
        )

    def _bounds(self, test: Paired, missing: int) -> tuple[float, float] | None:
        """The difference if every missing sample were as bad, or as good, for the tuned model as can be.

        Exact for metrics that are means over samples, an approximation for corpus-level ones.
        """
        if missing == 0 or test.delta is None:
            return None
        span = abs(self.metric.best - self.metric.worst) * missing
        total = test.n + missing
        return ((test.delta * test.n - span) / total, (test.delta * test.n + span) / total)

    def _n_needed(self, test: Paired) -> int | None:
        """Samples (or groups) that would tell a difference of `smallest_effect` with 80 % power."""
        if test.sd_difference is None or not test.sd_difference:
            return None
        needed = samples_needed(self.smallest_effect, sd=test.sd_difference)
        return int(np.ceil(needed * test.n / max(test.n_clusters, 1)))

    def _without_leaked(
        self, tuned: TestEvaluation, baseline: TestEvaluation, n_tests: int
    ) -> dict[str, float | int | str | None] | None:
        """The comparison and its answer over the clean samples; p times the number of tests, which never flatters."""
        leaked = set(self.leaked)
        clean = np.array([sample.id not in leaked for sample in tuned.samples], bool)
        if not leaked or clean.all() or not clean.any():
            return None
        test = self._paired(tuned, baseline, clean)
        used = self._used(tuned, baseline) & clean
        p = None if test.p is None else min(1.0, n_tests * test.p)
        effect = self.smallest_effect
        return {
            "n": test.n,
            "n_left_out": int((~clean).sum()),
            "candidate": self._value(tuned, used),
            "baseline": self._value(baseline, used),
            "delta": test.delta,
            "low": test.low,
            "high": test.high,
            "p": test.p,
            "answer": decide(delta=test.delta, low=test.low, high=test.high, p_adjusted=p, smallest_effect=effect),
        }

    def _used(self, tuned: TestEvaluation, baseline: TestEvaluation) -> BoolArray:
        used: BoolArray = tuned.scored(self.metric) & baseline.scored(self.metric)
        return used

    def _value(self, evaluation: TestEvaluation, used: BoolArray) -> float | None:
        value = evaluation.value(self.metric, used)
        return value if np.isfinite(value) else None

    def _flips(self, tuned: TestEvaluation, baseline: TestEvaluation, test: Paired) -> tuple[Flip, ...]:
        """Samples whose score changed, worst regressions first whatever the metric's direction."""
        sign = 1 if self.metric.higher_is_better else -1
        used = self._used(tuned, baseline)
        ids: Sequence[str] = [sample.id for sample, keep in zip(tuned.samples, used, strict=True) if keep]
        pairs = zip(ids, test.baseline_scores_N, test.candidate_scores_N, strict=True)
        changed = [Flip(i, float(b), float(a)) for i, b, a in pairs if abs(a - b) > _SAME_SCORE]
        return tuple(sorted(changed, key=lambda flip: (sign * (flip.after - flip.before), flip.id)))
