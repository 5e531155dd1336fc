"""Checkpoints on disk: a folder without a valid MANIFEST.json does not exist."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

from pydantic import JsonValue, TypeAdapter

from harness.core.errors import EnvironmentFault
from harness.core.types import Checkpoint, checkpoint_name
from harness.store import disk, layout
from harness.store.encoding import canonical, parse, sha256_file


class Checkpoints:
    """The checkpoints of one run; `CheckpointSink` for its trainer.

    Weights stay. The training state is only kept for the newest checkpoint, and replaced after that one is safe.
    """

    def __init__(self, folder: Path, key: str) -> None:
        """key: what these checkpoints were trained from; those of anything else do not exist."""
        self._weights = folder / layout.CHECKPOINTS
        self._states = folder / layout.TRAINING_STATE
        self._key = key

    def saved(self) -> Sequence[Checkpoint]:
        """Intact checkpoints of this run, oldest first; none if training could not go on from the newest.

        Weights that turn out damaged are set aside, and training starts again from the beginning: it gives the same
        bytes, and a later checkpoint is never trusted across a hole.
        """
        found = self.finished()
        if found and _read_manifest(self._states / found[-1].name, self._key) is None:
            return []
        return found

    def finished(self) -> Sequence[Checkpoint]:
        """Intact checkpoints of this run, oldest first, whether or not training can go on from them.

        From the first damaged one on, all are set aside, the newest first: wherever this is interrupted, the hole
        stays visible.
        """
        folders = [folder for folder in sorted(self._weights.glob("step-*")) if not folder.name.endswith(".bad")]
        manifests = [_read_manifest(folder, self._key) for folder in folders]
        n_sound = next((i for i, manifest in enumerate(manifests) if manifest is None), len(folders))
        for folder in reversed(folders[n_sound:]):
            disk.quarantine(folder)
        sound = zip(manifests[:n_sound], folders[:n_sound], strict=True)
        return [_checkpoint(manifest, folder) for manifest, folder in sound if manifest is not None]

    def state(self, checkpoint: Checkpoint) -> Path:
        """Folder of the training state saved with this checkpoint."""
        return self._states / checkpoint.name

    def save(
        self, checkpoint: Checkpoint, weights: Callable[[Path], None], state: Callable[[Path], None]
    ) -> Checkpoint:
        """Store state, then weights; both durable and verified when this returns."""
        name = checkpoint_name(checkpoint.step)
        self._publish(self._states / name, checkpoint, state)
        folder = self._publish(self._weights / name, checkpoint, weights)
        for old in self._states.iterdir():
            if old.name != name:
                disk.remove(old)
        manifest = _read_manifest(folder, self._key)
        if manifest is None:
            raise EnvironmentFault(
                f"{folder} does not read back as it was written",
                fix="check the disk, then type the same command again",
                code="E-CORRUPT",
            )
        return _checkpoint(manifest, folder)

    def drop_state(self) -> None:
        """Forget the training state: training is finished."""
        disk.remove(self._states)

    def _publish(self, final: Path, checkpoint: Checkpoint, write: Callable[[Path], None]) -> Path:
        disk.make_folder(final.parent)
        temporary = final.with_name(f".{final.name}.tmp")
        disk.remove(temporary)
        disk.make_folder(temporary)
        try:
            with disk.guarded(final, "write"):
                write(temporary)
            manifest = _manifest(temporary, checkpoint, self._key)
            disk.write_atomic(temporary / layout.MANIFEST, canonical(manifest))
            if final.exists():
                disk.quarantine(final)
            disk.publish_folder(temporary, final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return final


def intact(folder: Path, wanted: Collection[str]) -> bool:
    """Whether the run in this folder still has the weights with these hashes, unchanged; touches nothing."""
    files = (folder / layout.CHECKPOINTS).glob("step-*[0-9]/*model.safetensors")
    return set(wanted) <= {sha256_file(file) for file in files}


def _manifest(folder: Path, checkpoint: Checkpoint, key: str) -> dict[str, JsonValue]:
    files: dict[str, JsonValue] = {file.name: sha256_file(file) for file in sorted(folder.iterdir())}
    weights = next((digest for name, digest in files.items() if name.endswith("model.safetensors")), "")
    figures = {**asdict(replace(checkpoint, folder=Path())), "sha256": weights}
    figures.pop("folder")
    return {"key": key, "files": files, "checkpoint": cast(dict[str, JsonValue], figures)}


def _read_manifest(folder: Path, key: str) -> dict[str, JsonValue] | None:
    """The manifest of a complete, intact folder with this key; None otherwise."""
    try:
        manifest = parse(dict[str, JsonValue], (folder / layout.MANIFEST).read_bytes(), name=layout.MANIFEST)
        files = manifest["files"]
        assert isinstance(files, dict)
        intact = all(sha256_file(folder / name) == digest for name, digest in files.items())
    except (OSError, EnvironmentFault, KeyError, AssertionError):
        return None
    return manifest if intact and manifest.get("key") == key else None


def _checkpoint(manifest: dict[str, JsonValue], folder: Path) -> Checkpoint:
    figures = manifest["checkpoint"]
    assert isinstance(figures, dict)
    return TypeAdapter(Checkpoint).validate_python({**figures, "folder": folder})
