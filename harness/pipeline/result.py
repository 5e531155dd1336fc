"""From validation evaluations to the result: select, ask test once, compare, look at slices, conclude."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import JsonValue

from harness.core.protocols import AnyMetric
from harness.core.records import AuditRecord, Comparison, Conclusion, RunResult, SampleRow, Selection, SliceComparison
from harness.core.specs import RunSpec
from harness.core.types import Arm, Completion, Failure, Sample, checkpoint_name
from harness.pipeline.arms import BASE
from harness.pipeline.compare import Comparing
from harness.pipeline.conclude import Evidence, conclude, conclude_untuned
from harness.pipeline.corrections import corrections
from harness.pipeline.evaluate import Evaluator, TestEvaluation, ValidationEvaluation
from harness.pipeline.judging import Judged, caveats_of
from harness.pipeline.select import select
from harness.pipeline.slices import n_left_out
from harness.pipeline.slicewise import SliceComparing
from harness.pipeline.tune import checkpoint_records
from harness.store import layout
from harness.store.encoding import canonical
from harness.store.layout import origin_of


@dataclass(frozen=True)
class Ground:
    """What a result rests on besides its evaluations.

    prompt_text: a sample's prompt as people read it. identity: what produced the completions.
    tested, tested_step: where completions come from an earlier run, the arms that were asked the test samples, and the
    checkpoint among them; None where any arm can be asked.
    """

    spec: RunSpec
    run_id: str
    judging: Judged
    smallest_effect: float
    test: tuple[Sample, ...]
    audit: AuditRecord
    prompt_text: Callable[[Sample], str]
    trainer_settings: Mapping[str, JsonValue]
    trainer_reasons: tuple[str, ...]
    identity: Mapping[str, JsonValue]
    tested: frozenset[str] | None = None
    tested_step: int | None = None

    @property
    def metrics(self) -> tuple[AnyMetric, ...]:
        """What decides first."""
        return self.judging.metrics


def result_of(
    ground: Ground,
    evaluator: Evaluator,
    untuned: Sequence[ValidationEvaluation],
    tuned: Sequence[ValidationEvaluation],
) -> RunResult:
    """Choose on validation, compare once on test, and write down what follows.

    On test stand the task's own prompts, the best other wording if validation preferred it, and the chosen checkpoint.
    """
    spec, folder = ground.spec, evaluator.folder
    selection = select(
        tuned,
        untuned,
        metric=ground.metrics[0],
        spec=spec.select,
        seed=spec.seed,
        n_resamples=spec.n_resamples,
        judge=ground.judging.role,
    )
    if ground.tested is not None:
        selection = _among_tested(selection, ground.tested, ground)
    folder.finish("select", {}, {layout.SELECTION: canonical(selection)})
    folder.finish("correct", {}, {layout.CORRECTED: canonical(corrections(ground.judging, (*untuned, *tuned)))})

    asked = [e.arm for e in untuned if _stands_on_test(e.arm, selection, ground)]
    if selection.chosen_step is not None:
        asked += [e.arm for e in tuned if e.arm.name == checkpoint_name(selection.chosen_step)]
    on_test = evaluator.on_test(asked, ground.test)
    comparisons = _compare(on_test, selection, ground)
    slices = _compare_slices(on_test, selection, ground)
    folder.finish("compare", {}, {layout.COMPARISONS: canonical(comparisons), layout.SLICES: canonical(slices)})

    result = _result(ground, (*untuned, *tuned), on_test, selection, comparisons, slices)
    rows = b"".join(canonical(row, indent=None) for row in _sample_rows(ground, on_test))
    folder.finish("conclude", {}, {layout.RESULT: canonical(result), layout.SAMPLES: rows})
    return result


def _among_tested(selection: Selection, tested: frozenset[str], ground: Ground) -> Selection:
    """The choice as far as there are test answers for it; what validation preferred is named in `excluded`."""
    if selection.chosen_step != ground.tested_step:
        selection = replace(selection, rule="recorded", chosen_step=ground.tested_step)
    best = selection.best_untuned
    if best is None or best in tested:
        return selection
    sign = 1 if ground.metrics[0].higher_is_better else -1
    scores = {name: selection.scores[name].value for name in selection.scores if name in tested}
    untuned = {name: value for name, value in scores.items() if value is not None and name.startswith(BASE)}
    why = "was best on validation, but this run never asked it the test samples"
    return replace(
        selection,
        best_untuned=max(untuned, key=lambda name: sign * untuned[name], default=None),
        excluded={**selection.excluded, best: why},
    )


def _stands_on_test(arm: Arm, selection: Selection, ground: Ground) -> bool:
    if ground.tested is not None:
        return arm.name in ground.tested
    return arm.instruction is None or arm.name == selection.best_untuned


def _best_untuned(on_test: Sequence[TestEvaluation], selection: Selection) -> TestEvaluation | None:
    return next((e for e in on_test if e.arm.name == selection.best_untuned), None)


def _compare(on_test: Sequence[TestEvaluation], selection: Selection, ground: Ground) -> tuple[Comparison, ...]:
    comparing = Comparing(
        metric=ground.metrics[0],
        smallest_effect=ground.smallest_effect,
        leaked=ground.audit.leaked_test_ids,
        seed=ground.spec.seed,
        n_resamples=ground.spec.n_resamples,
    )
    best = _best_untuned(on_test, selection)
    if selection.chosen_step is None:
        return comparing.prompts(best or on_test[0], on_test[0])
    return comparing.compare(on_test[-1], on_test[0], best)


def _compare_slices(
    on_test: Sequence[TestEvaluation], selection: Selection, ground: Ground
) -> tuple[SliceComparison, ...]:
    """The first comparison's two sides, slice by slice."""
    candidate = on_test[-1] if selection.chosen_step is not None else _best_untuned(on_test, selection)
    if candidate is None or candidate is on_test[0]:
        return ()
    comparing = SliceComparing(
        metrics=ground.metrics,
        fields=ground.spec.task.metrics.slices,
        smallest_effect=ground.smallest_effect,
        seed=ground.spec.seed,
        n_resamples=ground.spec.n_resamples,
    )
    return comparing.compare(candidate, on_test[0])


def _result(
    ground: Ground,
    on_validation: Sequence[ValidationEvaluation],
    on_test: Sequence[TestEvaluation],
    selection: Selection,
    comparisons: Sequence[Comparison],
    slices: Sequence[SliceComparison],
) -> RunResult:
    spec, metric = ground.spec, ground.metrics[0]
    checkpoints = checkpoint_records([e.arm.checkpoint for e in on_validation if e.arm.checkpoint is not None])
    return RunResult(
        task=spec.task.name,
        summary=spec.task.summary,
        run_id=ground.run_id,
        model=spec.model.name,
        trainer=spec.trainer_name,
        primary=metric.name,
        metrics=tuple(m.name for m in ground.metrics),
        higher_is_better={m.name: m.higher_is_better for m in ground.metrics},
        conclusion=_conclusion(ground, on_test, selection, comparisons, slices, [c.step for c in checkpoints]),
        evaluations=(*(e.record for e in on_validation), *(e.record for e in on_test)),
        checkpoints=checkpoints,
        selection=selection,
        comparisons=tuple(comparisons),
        identity=dict(ground.identity),
        slices=tuple(slices),
        trainer_settings=dict(ground.trainer_settings),
        trainer_reasons=ground.trainer_reasons,
    )


def _conclusion(
    ground: Ground,
    on_test: Sequence[TestEvaluation],
    selection: Selection,
    comparisons: Sequence[Comparison],
    slices: Sequence[SliceComparison],
    steps: Sequence[int],
) -> Conclusion:
    evidence = Evidence(
        metrics=ground.metrics,
        selection=selection,
        comparisons=comparisons,
        slices=slices,
        test={e.arm.name: e.record for e in on_test},
        audit=ground.audit,
        left_out=n_left_out(ground.test, ground.spec.task.metrics.slices),
        judging=tuple(caveats_of(ground.judging, selection)),
    )
    found = conclude(evidence, final_step=steps[-1]) if steps else conclude_untuned(evidence)
    return replace(found, next_steps=(*_labelling_steps(ground), *found.next_steps))


def _labelling_steps(ground: Ground) -> list[str]:
    """What people can do for a judge that has not earned its say, and for a claim that rests on one that has."""
    role, task, run_id = ground.judging.role, ground.spec.task.name, ground.run_id
    if role is None:
        return []
    if role.grade == "drive":
        return [f"have people compare the two on test, blind: harness label {task}/{run_id} round=final"]
    origin = origin_of(run_id)
    return [f"more labels, then a new choice: harness label run={task}/{origin} n=200, harness select {task}/{origin}"]


def _sample_rows(ground: Ground, on_test: Sequence[TestEvaluation]) -> list[SampleRow]:
    scores = {e.arm.name: {m.name: e.scores(m) for m in ground.metrics} for e in on_test}
    rows = []
    for index, sample in enumerate(on_test[0].samples):
        first = {e.arm.name: e.outcomes[0][index] for e in on_test}
        rows.append(
            SampleRow(
                id=sample.id,
                prompt=ground.prompt_text(sample),
                references=sample.references,
                metadata=sample.metadata,
                outputs={name: o.text if isinstance(o, Completion) else None for name, o in first.items()},
                failures={name: f"{o.stage}: {o.reason}" for name, o in first.items() if isinstance(o, Failure)},
                scores={
                    name: {
                        metric: float(values[index]) if np.isfinite(values[index]) else None
                        for metric, values in by_metric.items()
                    }
                    for name, by_metric in scores.items()
                },
                group=sample.group,
            )
        )
    return rows
