"""Stored completions scored again: other metrics, slices or rules of choice, or a choice made anew with more labels.

What was generated cannot change: validation chooses again. In a rescore only the candidates that were asked the test
samples can stand on test; `reselect` has the model, and asks another one if it is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path

from pydantic import JsonValue, TypeAdapter

from harness import RESULTS_VERSION, __version__
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.protocols import AdapterProof, AnyMetric, Backend
from harness.core.records import CheckpointRecord, DataRecord, RunResult, SampleRow
from harness.core.specs import RunSpec
from harness.core.types import Candidate, Checkpoint, Sample, Split, checkpoint_name
from harness.data import Dataset, read
from harness.models.files import ADAPTER_CONFIG
from harness.pipeline.arms import tuned_arm, untuned_arms
from harness.pipeline.estimates import Estimating
from harness.pipeline.evaluate import Answering, Evaluator
from harness.pipeline.generate import Generated
from harness.pipeline.judging import Judged, asking, judged
from harness.pipeline.outcomes import decode
from harness.pipeline.prepare import Plugins, Prepared, effect_of, make_metrics
from harness.pipeline.result import Ground, result_of
from harness.pipeline.run import generation
from harness.pipeline.stages import Stages
from harness.store import layout
from harness.store.cache import GenerationCache
from harness.store.checkpoints import intact
from harness.store.encoding import canonical, fingerprint, parse
from harness.store.layout import RESCORED
from harness.store.run import FinishedRun, RunFolder
from harness.store.view import StoredView

# Sections of the spec that a rescore may change; everything else decided what was generated.
_MAY_DIFFER = ("metrics", "select", "seed", "n_resamples")


class Recorded:
    """A finished run as a source of completions."""

    def __init__(self, folder: Path) -> None:
        self._run = FinishedRun(folder)
        self._view = StoredView(folder)
        self.folder = folder
        self.result = self._view.result
        self.spec = RunSpec.model_validate(self._view.spec)

    @cached_property
    def data(self) -> DataRecord:
        """What was read."""
        return self._view.data

    @property
    def tested(self) -> frozenset[str]:
        """Names of the arms that were asked the test samples."""
        return frozenset(record.arm for record in self.result.evaluations if record.split == "test")

    @cached_property
    def prompts(self) -> Mapping[str, str]:
        """Prompt of each test sample, by id, as people read it."""
        rows = self._run.read(layout.SAMPLES).split(b"\n")
        samples = (TypeAdapter(SampleRow).validate_json(row) for row in rows if row)
        return {sample.id: sample.prompt for sample in samples}

    def copied(self) -> dict[str, bytes]:
        """What was asked and noticed, for the new run's folder."""
        return {name: self._run.read(name) for name in (layout.DATA, layout.AUDIT, layout.TEST_ROWS)}

    def ground(self, spec: RunSpec, run_id: str, dataset: Dataset, judging: Judged) -> Ground:
        """What the new result rests on, where nothing more can be generated."""
        chosen = self.result.selection.chosen_step
        return Ground(
            spec=spec,
            run_id=run_id,
            judging=judging,
            smallest_effect=effect_of(spec, judging.metrics[0]),
            test=dataset.split("test"),
            audit=self._view.audit,
            prompt_text=lambda sample: self.prompts[sample.id],
            trainer_settings=self.result.trainer_settings,
            trainer_reasons=self.result.trainer_reasons,
            identity={**self.result.identity, "harness": __version__, "rescored": self.result.run_id},
            tested=self.tested,
            tested_step=chosen,
        )

    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints as they were, oldest first; their weights need not be there any more."""
        return [self._checkpoint(record) for record in self.result.checkpoints]

    def outcomes(self, candidate: str, split: Split, samples: Sequence[Sample]) -> tuple[bytes, bytes]:
        """The bytes of a candidate's outcomes and of its adapter's proof; E-DRIFT where samples are not the same."""
        folder = layout.evaluation(candidate, split)
        content, proof = (self._run.read(f"{folder}/{name}") for name in (layout.OUTCOMES, layout.PROOF))
        if len(decode(content)) != len(samples):
            raise _other_data(self.folder, [split])
        return content, proof

    def answered(self, candidate: str, split: Split) -> bool:
        """Whether the candidate was asked the samples of this split."""
        return self._run.has(f"{layout.evaluation(candidate, split)}/{layout.OUTCOMES}")

    def mean_prompt_tokens(self, candidate: str, split: Split) -> float:
        """As it was recorded for the candidate's arm."""
        arm = candidate.rpartition("-draw")[0] or candidate
        return self.result.evaluation(arm, split).mean_prompt_tokens

    def require_weights(self) -> None:
        """E-CORRUPT unless the checkpoints' weights are there as they were trained."""
        if not intact(self.folder, [record.sha256 for record in self.result.checkpoints]):
            raise EnvironmentFault(
                f"the checkpoints of {self.folder} are not there any more as they were trained",
                fix="`harness run` with the run's words trains them again",
                code="E-CORRUPT",
                resumable=False,
            )

    def require_model(self, identity: Mapping[str, JsonValue]) -> None:
        """E-DRIFT unless the base model is the one that the run was made with."""
        if self.result.identity.get("model") != identity["model"]:
            raise HarnessError(
                f"the base model is no longer the one that {self.folder} was made with",
                fix="bring its files back as they were, or start a new `harness run`",
                code="E-DRIFT",
            )

    def _checkpoint(self, record: CheckpointRecord) -> Checkpoint:
        folder = self.folder / layout.CHECKPOINTS / checkpoint_name(record.step)
        return Checkpoint(
            step=record.step,
            epoch=record.epoch,
            folder=folder,
            kind="adapter" if (folder / ADAPTER_CONFIG).is_file() else "full",
            sha256=record.sha256,
            train_loss=record.train_loss,
            train_accuracy=record.train_accuracy,
            validation_loss=record.validation_loss,
            validation_accuracy=record.validation_accuracy,
        )


@dataclass(frozen=True)
class Rescoring:
    """A rescore that may begin: the recorded run, what is asked of it now, and the name of the new run."""

    recorded: Recorded
    spec: RunSpec
    dataset: Dataset
    run_id: str
    metrics: tuple[AnyMetric, ...]
    plugins: Plugins

    @cached_property
    def backend(self) -> Backend:
        """The run's, for judges that ask its model; nothing else of a rescore needs one."""
        thinking = self.spec.task.prompting.thinking
        return self.plugins.backend.create(self.spec.model, self.spec.backend, thinking=thinking)

    def answered(self) -> Iterator[Sample]:
        """The samples of all answers that the recorded run has: each as often as it was asked."""
        splits: tuple[Split, ...] = ("validation", "test")
        for arm in (*untuned_arms(self.spec), *map(tuned_arm, self.recorded.checkpoints())):
            for candidate, split in product(arm.candidates, splits):
                if self.recorded.answered(candidate.name, split):
                    yield from self.dataset.split(split)


@dataclass(frozen=True)
class _Answers:
    """`Answering` from a recorded run; the outcomes are copied into the new run's folder, verified.

    otherwise: who answers what the recorded run was not asked.
    """

    recorded: Recorded
    folder: RunFolder
    otherwise: Answering | None = None

    def generate(
        self, candidates: Sequence[Candidate], split: Split, samples: Sequence[Sample]
    ) -> tuple[Generated, ...]:
        return tuple(self._generated(candidate, split, samples) for candidate in candidates)

    def _generated(self, candidate: Candidate, split: Split, samples: Sequence[Sample]) -> Generated:
        if self.otherwise is not None and not self.recorded.answered(candidate.name, split):
            return self.otherwise.generate([candidate], split, samples)[0]
        name = layout.evaluation(candidate.name, split)
        file, proof_file = f"{name}/{layout.OUTCOMES}", f"{name}/{layout.PROOF}"
        content, proof = self.recorded.outcomes(candidate.name, split, samples)
        self.folder.finish(f"evaluate {candidate.name} on {split}", {}, {file: content, proof_file: proof})
        return Generated(
            file,
            decode(content),
            parse(AdapterProof | None, proof, name=proof_file),  # type: ignore[arg-type]
            self.recorded.mean_prompt_tokens(candidate.name, split),
        )


def prepare_rescore(
    folder: Path, asked: RunSpec, task_folder: Path, plugins: Plugins, *, mark: str = RESCORED
) -> Rescoring:
    """Check that only the scoring differs and that the data is still the data; nothing is written.

    mark: what stands in the new run's name.
    """
    recorded = Recorded(folder)
    spec = _rescored_spec(recorded.spec, asked)
    dataset = read(spec.task, task_folder, drop_bad=spec.drop_bad)
    now, then = dataset.record.sha256, recorded.data.sha256
    if changed := [split for split in then if now.get(split) != then[split]]:
        raise _other_data(folder, changed)
    facts: dict[str, JsonValue] = {
        "results_version": RESULTS_VERSION,
        "spec": spec.model_dump(mode="json"),
        "source": recorded.result.run_id,
        "sources": dict(plugins.sources),
        # Judges without a model of their own ask the run's.
        "model": dict(plugins.backend.identify(spec.model, spec.backend)) if plugins.judges else {},
    }
    run_id = f"{recorded.result.run_id}{mark}{fingerprint(facts)[:8]}"
    return Rescoring(recorded, spec, dataset, run_id, make_metrics(spec, dataset, plugins), plugins)


def rescore(rescoring: Rescoring, stages: Stages, runs: Path) -> RunResult:
    """Score everything again, choose again on validation, compare again, conclude."""
    folder = rescoring.plugins.folder
    judging = judged(rescoring.metrics, asking(rescoring.spec, lambda: rescoring.backend, stages, runs, folder))
    ground = rescoring.recorded.ground(rescoring.spec, rescoring.run_id, rescoring.dataset, judging)
    return _again(rescoring, ground, _Answers(rescoring.recorded, stages.folder), stages.folder)


def reselect(rescoring: Rescoring, prepared: Prepared, stages: Stages, runs: Path) -> RunResult:
    """Choose again among the checkpoints of a run, and ask the chosen one the test samples if nobody has."""
    spec, recorded = rescoring.spec, rescoring.recorded
    recorded.require_model({"model": dict(prepared.model_identity), **prepared.backend.identity})
    folder = rescoring.plugins.folder
    judging = judged(rescoring.metrics, asking(spec, lambda: prepared.backend, stages, runs, folder))
    ground = replace(
        recorded.ground(spec, rescoring.run_id, rescoring.dataset, judging),
        tested=None,
        tested_step=None,
        prompt_text=prepared.renderer.prompt_text,
    )
    live = generation(prepared, stages, GenerationCache(runs))
    return _again(rescoring, ground, _Answers(recorded, stages.folder, live), stages.folder)


def _again(rescoring: Rescoring, ground: Ground, answers: _Answers, folder: RunFolder) -> RunResult:
    recorded, spec, dataset = rescoring.recorded, rescoring.spec, rescoring.dataset
    folder.finish("data", {}, {layout.SPEC: canonical(spec.model_dump(mode="json")), **recorded.copied()})
    estimating = Estimating(ground.metrics, spec.task.metrics.slices, spec.seed, spec.n_resamples)
    evaluator = Evaluator(folder, answers, estimating)
    validation = dataset.split("validation")
    untuned = untuned_arms(spec)
    tuned = tuple(map(tuned_arm, recorded.checkpoints()))
    found = evaluator.on_validation((*untuned, *tuned), validation)
    return result_of(ground, evaluator, found[: len(untuned)], found[len(untuned) :])


def _rescored_spec(recorded: RunSpec, asked: RunSpec) -> RunSpec:
    task = recorded.task.model_copy(update={"metrics": asked.task.metrics})
    update = {"task": task, "select": asked.select, "seed": asked.seed, "n_resamples": asked.n_resamples}
    # The seed also drew the splits' shots and the training order, all of which is recorded.
    spec = recorded.model_copy(update=update)
    differing = [
        key for key in ("prompting", "generation", "data") if getattr(spec.task, key) != getattr(asked.task, key)
    ]
    differing += [key for key in ("model", "backend") if getattr(spec, key) != getattr(asked, key)]
    differing += ["select.race"] if recorded.select.race != asked.select.race else []
    if differing:
        raise HarnessError(
            f"a rescore scores what was generated; {', '.join(differing)} would generate something else",
            fix=f"leave it out (only {', '.join(_MAY_DIFFER)} may differ), or start a new `harness run`",
            code="E-CONFLICT",
        )
    return spec


def _other_data(folder: Path, splits: Sequence[str]) -> HarnessError:
    return HarnessError(
        f"the task's data is no longer what {folder} was made from: {', '.join(splits)} changed",
        fix="bring the data back as it was, or start a new `harness run`",
        code="E-DRIFT",
    )
