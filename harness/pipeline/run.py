"""The run, as one sentence: baselines, train, evaluate, select on validation, compare once on test, conclude."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness import __version__
from harness.core.protocols import Metric
from harness.core.records import Comparison, RunResult, SampleRow, Selection
from harness.core.types import Completion, Failure, FloatArray, checkpoint_name
from harness.pipeline.compare import Comparing
from harness.pipeline.conclude import conclude
from harness.pipeline.draws import beside, over_draws
from harness.pipeline.evaluate import Evaluator, TestEvaluation, ValidationEvaluation
from harness.pipeline.generate import Generation
from harness.pipeline.prepare import Plugins, Prepared, untuned_arms
from harness.pipeline.select import select
from harness.pipeline.stages import Stages
from harness.pipeline.tune import checkpoint_records, tune
from harness.store import layout
from harness.store.encoding import canonical


def run(prepared: Prepared, plugins: Plugins, stages: Stages) -> RunResult:
    """Do what is not done yet, each stage durable before the next, and return the run's result."""
    spec, dataset = prepared.spec, prepared.dataset
    _record_what_was_asked(prepared, stages)
    evaluator = _evaluator(prepared, stages)
    validation, test = dataset.split("validation"), dataset.split("test")

    arms = untuned_arms(spec)
    untuned = [evaluator.on_validation(arm, validation) for arm in arms]
    tuned = tune(prepared, plugins, stages, evaluator, untuned[0])
    selection = _select(tuned, untuned, prepared, stages)

    chosen = next(e.arm for e in tuned if e.arm.name == checkpoint_name(selection.chosen_step))
    on_test = [evaluator.on_test(arm, test) for arm in arms]
    on_test.append(evaluator.on_test(chosen, test, base=on_test[0]))
    comparisons = _compare(on_test, selection, prepared, stages)
    return _conclude(prepared, stages, (*untuned, *tuned), on_test, selection, comparisons)


def _record_what_was_asked(prepared: Prepared, stages: Stages) -> None:
    files = {
        layout.SPEC: canonical(prepared.spec.model_dump(mode="json")),
        layout.DATA: canonical(prepared.dataset.record),
        layout.AUDIT: canonical(prepared.audit),
    }
    stages.folder.finish("data", {}, files)


def _evaluator(prepared: Prepared, stages: Stages) -> Evaluator:
    spec = prepared.spec
    generation = Generation(stages, prepared.backend, prepared.renderer, prepared.shots, prepared.sampling)
    return Evaluator(generation, prepared.metrics, spec.task.metrics.slices, spec.seed, spec.n_resamples)


def _select(
    tuned: Sequence[ValidationEvaluation],
    untuned: Sequence[ValidationEvaluation],
    prepared: Prepared,
    stages: Stages,
) -> Selection:
    spec = prepared.spec
    selection = select(
        tuned,
        untuned,
        metric=prepared.metrics[0],
        spec=spec.select,
        seed=spec.seed,
        n_resamples=spec.n_resamples,
    )
    stages.folder.finish("select", {}, {layout.SELECTION: canonical(selection)})
    return selection


def _compare(
    on_test: Sequence[TestEvaluation], selection: Selection, prepared: Prepared, stages: Stages
) -> tuple[Comparison, ...]:
    comparing = Comparing(
        metric=prepared.metrics[0],
        smallest_effect=prepared.smallest_effect,
        leaked=prepared.audit.leaked_test_ids,
        seed=prepared.spec.seed,
        n_resamples=prepared.spec.n_resamples,
    )
    best = next((e for e in on_test if e.arm.name == selection.best_untuned), None)
    comparisons = comparing.compare(on_test[-1], on_test[0], best)
    stages.folder.finish("compare", {}, {layout.COMPARISONS: canonical(comparisons)})
    return comparisons


def _conclude(
    prepared: Prepared,
    stages: Stages,
    on_validation: Sequence[ValidationEvaluation],
    on_test: Sequence[TestEvaluation],
    selection: Selection,
    comparisons: Sequence[Comparison],
) -> RunResult:
    spec, metric = prepared.spec, prepared.metrics[0]
    checkpoints = checkpoint_records([e for e in on_validation if e.arm.checkpoint is not None])
    result = RunResult(
        task=spec.task.name,
        summary=spec.task.summary,
        run_id=prepared.run_id,
        model=spec.model.name,
        trainer=spec.trainer_name,
        primary=metric.name,
        metrics=tuple(m.name for m in prepared.metrics),
        higher_is_better={m.name: m.higher_is_better for m in prepared.metrics},
        conclusion=conclude(
            metric=metric,
            selection=selection,
            comparisons=comparisons,
            test={e.arm.name: e.record for e in on_test},
            audit=prepared.audit,
            final_step=checkpoints[-1].step,
        ),
        evaluations=(*(e.record for e in on_validation), *(e.record for e in on_test)),
        checkpoints=checkpoints,
        selection=selection,
        comparisons=tuple(comparisons),
        identity={"harness": __version__, "model": dict(prepared.model_identity), **prepared.backend.identity},
    )
    rows = b"".join(canonical(row, indent=None) for row in _sample_rows(prepared, on_test))
    stages.folder.finish("conclude", {}, {layout.RESULT: canonical(result), layout.SAMPLES: rows})
    return result


def _sample_rows(prepared: Prepared, on_test: Sequence[TestEvaluation]) -> list[SampleRow]:
    scores = {evaluation.arm.name: {m.name: _scores(evaluation, m) for m in prepared.metrics} for evaluation in on_test}
    rows = []
    for index, sample in enumerate(on_test[0].samples):
        first = {e.arm.name: e.outcomes[0][index] for e in on_test}
        answered = {e.arm.name: bool(e.answered[index]) for e in on_test}
        rows.append(
            SampleRow(
                id=sample.id,
                prompt=prepared.renderer.prompt_text(sample),
                references=sample.references,
                metadata=sample.metadata,
                outputs={name: o.text if isinstance(o, Completion) else None for name, o in first.items()},
                failures={name: f"{o.stage}: {o.reason}" for name, o in first.items() if isinstance(o, Failure)},
                scores={
                    name: {
                        metric: float(values[index]) if answered[name] and np.isfinite(values[index]) else None
                        for metric, values in by_metric.items()
                    }
                    for name, by_metric in scores.items()
                },
            )
        )
    return rows


def _scores(evaluation: TestEvaluation, metric: Metric) -> FloatArray:
    """(N,) per-sample scores, mean over draws."""
    joined = beside(evaluation.statistics[metric.name], evaluation.n_draws)
    return over_draws(metric, evaluation.n_draws).per_sample(joined)
