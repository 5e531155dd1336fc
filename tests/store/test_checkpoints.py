from __future__ import annotations

from functools import partial
from pathlib import Path

from harness.core.types import Checkpoint
from harness.store.checkpoints import Checkpoints


def put(text: str, folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_text(text)


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, float(step), Path(), "adapter", "", 1.0, 0.1, 1.1, 0.2)


def save(sink: Checkpoints, step: int) -> Checkpoint:
    return sink.save(checkpoint(step), partial(put, f"weights {step}"), partial(put, f"state {step}"))


def test_saved_checkpoints_come_back_with_their_hashes_and_only_the_newest_state(tmp_path: Path) -> None:
    sink = Checkpoints(tmp_path, "run-1")
    saved = [save(sink, step) for step in (10, 20)]
    assert list(Checkpoints(tmp_path, "run-1").saved()) == saved
    assert len({c.sha256 for c in saved}) == 2
    assert [p.name for p in (tmp_path / "training-state").iterdir()] == ["step-000020"]


def test_another_runs_checkpoints_do_not_exist(tmp_path: Path) -> None:
    save(Checkpoints(tmp_path, "run-1"), 10)
    assert list(Checkpoints(tmp_path, "run-2").saved()) == []


def test_without_its_state_training_starts_again(tmp_path: Path) -> None:
    sink = Checkpoints(tmp_path, "run-1")
    save(sink, 10)
    sink.drop_state()
    assert list(sink.saved()) == []
    assert [c.step for c in sink.finished()] == [10]


def test_damaged_weights_are_set_aside_and_nothing_after_them_is_trusted(tmp_path: Path) -> None:
    sink = Checkpoints(tmp_path, "run-1")
    for step in (10, 20):
        save(sink, step)
    (tmp_path / "checkpoints/step-000010/adapter_model.safetensors").write_text("forged")
    for _ in range(2):  # a second look must not see the newer one as whole
        assert list(sink.saved()) == []
    assert (tmp_path / "checkpoints/step-000010.0.bad").is_dir()
    again = save(sink, 10)
    assert again.sha256 == next(c.sha256 for c in sink.finished() if c.step == 10)


def test_a_folder_without_manifest_does_not_exist(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "step-000010"
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_text("half")
    assert list(Checkpoints(tmp_path, "run-1").saved()) == []
