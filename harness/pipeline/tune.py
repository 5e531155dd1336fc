"""Train to durable checkpoints; training that is finished is not repeated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import cast

from pydantic import JsonValue

from harness.core.errors import EnvironmentFault
from harness.core.records import CheckpointRecord
from harness.core.types import Checkpoint, TokenRow
from harness.pipeline.prepare import Plugins, Prepared
from harness.pipeline.stages import Stages
from harness.store import layout
from harness.store.checkpoints import Checkpoints
from harness.store.encoding import canonical, fingerprint


def tune(
    prepared: Prepared, plugins: Plugins, stages: Stages, enough: Callable[[Checkpoint], bool]
) -> tuple[Checkpoint, ...]:
    """Every checkpoint, in order of steps; none where the trainer plans none and makes none.

    enough: told of each new checkpoint once it is durable, and says whether to stop. It may generate meanwhile, where
    the backend trains in place.
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
    if stages.is_done("train", inputs):
        recorded = stages.folder.load(list[CheckpointRecord], layout.TRAINING)
        found = {checkpoint.sha256: checkpoint for checkpoint in sink.finished()}
        if all(record.sha256 in found for record in recorded):
            sink.drop_state()
            return tuple(found[record.sha256] for record in recorded)
    checkpoints = tuple(_train(prepared, plugins, stages, sink, enough))
    planned = plugins.trainer.plan(prepared.train_rows, prepared.trainer_spec).checkpoint_steps
    if planned and not checkpoints:
        raise EnvironmentFault(
            "training ended without a checkpoint",
            fix="this is a defect of the trainer: it must yield one at least at its end",
            code="E-TRAINER",
        )
    stages.folder.finish("train", inputs, {layout.TRAINING: canonical(checkpoint_records(checkpoints))})
    sink.drop_state()
    return checkpoints


def _train(
    prepared: Prepared, plugins: Plugins, stages: Stages, sink: Checkpoints, enough: Callable[[Checkpoint], bool]
) -> Iterator[Checkpoint]:
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
                yield checkpoint
                if enough(checkpoint):
                    stages.note(f"stopped early after {checkpoint.name}")
                    return


def checkpoint_records(checkpoints: Sequence[Checkpoint]) -> tuple[CheckpointRecord, ...]:
    """The training curves of these checkpoints."""
    return tuple(
        CheckpointRecord(
            step=checkpoint.step,
            epoch=checkpoint.epoch,
            sha256=checkpoint.sha256,
            train_loss=checkpoint.train_loss,
            train_accuracy=checkpoint.train_accuracy,
            validation_loss=checkpoint.validation_loss,
            validation_accuracy=checkpoint.validation_accuracy,
        )
        for checkpoint in checkpoints
    )


def _hash_rows(rows: Sequence[TokenRow]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.id, row.ids, row.loss]).encode())
    return digest.hexdigest()
