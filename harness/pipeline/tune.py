"""Train, and evaluate every checkpoint on validation as it comes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import cast

from pydantic import JsonValue

from harness.core.errors import EnvironmentFault
from harness.core.protocols import AnyMetric
from harness.core.records import CheckpointRecord
from harness.core.types import Checkpoint, TokenRow
from harness.pipeline.arms import tuned_arm
from harness.pipeline.evaluate import Evaluator, ValidationEvaluation
from harness.pipeline.prepare import Plugins, Prepared
from harness.pipeline.select import should_stop
from harness.pipeline.stages import Stages
from harness.store import layout
from harness.store.checkpoints import Checkpoints
from harness.store.encoding import canonical, fingerprint


def tune(
    prepared: Prepared, plugins: Plugins, stages: Stages, evaluator: Evaluator, base: ValidationEvaluation
) -> tuple[ValidationEvaluation, ...]:
    """Every checkpoint's validation evaluation, in order of steps. Finished training is not repeated.

    Nothing, where the trainer plans no checkpoint and makes none.
    """
    inputs: dict[str, JsonValue] = {
        "trainer": prepared.spec.trainer_name,
        "spec": prepared.trainer_spec.model_dump(mode="json"),
        "select": prepared.spec.select.model_dump(mode="json"),
        "train": _hash_rows(prepared.train_rows),
        "validation": _hash_rows(prepared.validation_rows),
        "backend": prepared.generator,
    }
    sink = Checkpoints(stages.folder.folder, fingerprint(inputs))
    if stages.folder.is_done("train", inputs):
        recorded = stages.folder.load(list[CheckpointRecord], layout.TRAINING)
        found = {checkpoint.sha256: checkpoint for checkpoint in sink.finished()}
        if all(record.sha256 in found for record in recorded):
            sink.drop_state()
            return tuple(_evaluate(found[record.sha256], prepared, evaluator, base) for record in recorded)
    evaluations = tuple(_train(prepared, plugins, stages, evaluator, base, sink))
    planned = plugins.trainer.plan(prepared.train_rows, prepared.trainer_spec).checkpoint_steps
    if planned and not evaluations:
        raise EnvironmentFault(
            "training ended without a checkpoint",
            fix="this is a defect of the trainer: it must yield one at least at its end",
            code="E-TRAINER",
        )
    stages.folder.finish("train", inputs, {layout.TRAINING: canonical([_record(e) for e in evaluations])})
    sink.drop_state()
    return evaluations


def _train(
    prepared: Prepared,
    plugins: Plugins,
    stages: Stages,
    evaluator: Evaluator,
    base: ValidationEvaluation,
    sink: Checkpoints,
) -> Iterator[ValidationEvaluation]:
    metric = _primary(evaluator)
    evaluations: list[ValidationEvaluation] = []
    with stages.timed("train") as progress:
        training = plugins.trainer.train(
            prepared.backend.model,
            prepared.train_rows,
            prepared.validation_rows,
            prepared.trainer_spec,
            sink,
            progress,
        )
        with closing(cast(Generator[Checkpoint, None, None], training)):
            for checkpoint in training:
                evaluations.append(_evaluate(checkpoint, prepared, evaluator, base))
                yield evaluations[-1]
                if should_stop(evaluations, metric, prepared.spec.select):
                    stages.note(f"stopped early after {checkpoint.name}")
                    return


def _evaluate(
    checkpoint: Checkpoint, prepared: Prepared, evaluator: Evaluator, base: ValidationEvaluation
) -> ValidationEvaluation:
    return evaluator.on_validation(tuned_arm(checkpoint), prepared.dataset.split("validation"), base=base)


def _primary(evaluator: Evaluator) -> AnyMetric:
    return evaluator.metrics[0]


def checkpoint_records(evaluations: Sequence[ValidationEvaluation]) -> tuple[CheckpointRecord, ...]:
    """The training curves of these checkpoints."""
    return tuple(_record(evaluation) for evaluation in evaluations)


def _record(evaluation: ValidationEvaluation) -> CheckpointRecord:
    checkpoint = evaluation.arm.checkpoint
    assert checkpoint is not None
    return CheckpointRecord(
        step=checkpoint.step,
        epoch=checkpoint.epoch,
        sha256=checkpoint.sha256,
        train_loss=checkpoint.train_loss,
        train_accuracy=checkpoint.train_accuracy,
        validation_loss=checkpoint.validation_loss,
        validation_accuracy=checkpoint.validation_accuracy,
    )


def _hash_rows(rows: Sequence[TokenRow]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.id, row.ids, row.loss]).encode())
    return digest.hexdigest()
