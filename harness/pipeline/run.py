"""The run, as one sentence: baselines, train, evaluate, select on validation, compare once on test, conclude."""

from __future__ import annotations

from pathlib import Path

from harness import __version__
from harness.core.errors import EnvironmentFault
from harness.core.records import RunResult
from harness.pipeline.estimates import Estimating
from harness.pipeline.evaluate import Evaluator
from harness.pipeline.generate import Generation
from harness.pipeline.judging import Judged, asking, judged
from harness.pipeline.ladder import on_validation
from harness.pipeline.prepare import Plugins, Prepared, effect_of
from harness.pipeline.rendering import to_bytes
from harness.pipeline.result import Ground, result_of
from harness.pipeline.stages import Stages
from harness.store import layout
from harness.store.cache import RENDERINGS, ContentCache, GenerationCache
from harness.store.encoding import canonical
from harness.store.looks import row_digests


def run(prepared: Prepared, plugins: Plugins, stages: Stages, runs: Path) -> RunResult:
    """Do what is not done yet, each stage durable before the next, and return the run's result.

    runs: the folder of runs, whose caches are shared by all of them.
    """
    _record_what_was_asked(prepared, stages)
    _keep_rows(prepared, stages, ContentCache(runs, RENDERINGS))
    judging = judged(prepared.metrics, asking(prepared.spec, lambda: prepared.backend, stages, runs, plugins.folder))
    evaluator = Evaluator(
        stages.folder, generation(prepared, stages, GenerationCache(runs)), _estimating(prepared, judging)
    )
    untuned, tuned = on_validation(prepared, plugins, stages, evaluator)
    return result_of(_ground(prepared, judging), evaluator, untuned, tuned)


def _record_what_was_asked(prepared: Prepared, stages: Stages) -> None:
    files = {
        layout.SPEC: canonical(prepared.spec.model_dump(mode="json")),
        layout.DATA: canonical(prepared.dataset.record),
        layout.AUDIT: canonical(prepared.audit),
        layout.TEST_ROWS: canonical(row_digests(prepared.dataset.split("test")), indent=None),
    }
    stages.folder.finish("data", {}, files)


def _keep_rows(prepared: Prepared, stages: Stages, renderings: ContentCache) -> None:
    """Rendered rows into the cache, which may fail: nothing is lost but time, next time."""
    if prepared.fresh_rows is None:
        stages.note("token ids from the cache")
        return
    key, rendered = prepared.fresh_rows
    try:
        renderings.put(key, to_bytes(rendered))
    except EnvironmentFault as fault:
        stages.note(f"not cached: {fault.what}")


def generation(prepared: Prepared, stages: Stages, cache: GenerationCache) -> Generation:
    """Everything that generates in a run."""
    return Generation(
        stages, cache, prepared.backend, prepared.renderers, prepared.shots, prepared.sampling, prepared.generator
    )


def _estimating(prepared: Prepared, judging: Judged) -> Estimating:
    spec = prepared.spec
    return Estimating(judging.metrics, spec.task.metrics.slices, spec.seed, spec.n_resamples)


def _ground(prepared: Prepared, judging: Judged) -> Ground:
    return Ground(
        spec=prepared.spec,
        run_id=prepared.run_id,
        judging=judging,
        smallest_effect=effect_of(prepared.spec, judging.metrics[0]),
        test=prepared.dataset.split("test"),
        audit=prepared.audit,
        prompt_text=prepared.renderer.prompt_text,
        trainer_settings=prepared.trainer_spec.model_dump(mode="json"),
        trainer_reasons=prepared.trainer_reasons,
        identity={"harness": __version__, "model": dict(prepared.model_identity), **prepared.backend.identity},
    )
