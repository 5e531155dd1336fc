"""A recording that is damaged, or was never finished."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.backends.replay import ReplayBackend, backend
from harness.core.errors import EnvironmentFault
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Checkpoint, Completion, Failure, Request, Sampling
from harness.store.checkpoints import Checkpoints
from trainers import replay

REQUEST = Request("r0", (1, 2), Sampling(4), ())
LINE = {"request": REQUEST.fingerprint, "completion": {"text": "yes", "finish_reason": "stop", "n_tokens": 2}}


def opened(folder: Path, text: str) -> ReplayBackend:
    place = folder / "evaluations" / "base.test"
    place.mkdir(parents=True)
    (place / "outcomes.jsonl").write_text(text)
    options = BackendSpec(name="replay", recording=str(folder))
    return backend.create(ModelSpec(name="fake"), options, thinking=False)


@pytest.mark.parametrize(
    "line",
    [
        '{"request": "cut of',
        "[1]",
        '{"completion": {"text": "x", "finish_reason": "stop", "n_tokens": 1}}',
        json.dumps({**LINE, "completion": {"text": "x"}}),
        json.dumps({**LINE, "completion": {"text": "x", "finish_reason": "bored", "n_tokens": 1}}),
        json.dumps({"request": "r"}),
        json.dumps({"request": "r", "failure": "no"}),
        "\x1b[31m",
    ],
)
def test_a_damaged_line_is_one_error_with_its_place(tmp_path: Path, line: str) -> None:
    with pytest.raises(EnvironmentFault, match=r"base\.test/outcomes\.jsonl:2") as caught:
        opened(tmp_path, f"{json.dumps(LINE)}\n{line}\n")
    assert (caught.value.code, caught.value.resumable) == ("E-CORRUPT", False)
    assert "\x1b" not in str(caught.value)


def test_a_damaged_proof_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "evaluations" / "step-000001.test").mkdir(parents=True)
    (tmp_path / "evaluations" / "step-000001.test" / "adapter.json").write_text('{"sha256": 3}')
    with pytest.raises(EnvironmentFault, match=r"adapter\.json") as caught:
        opened(tmp_path, json.dumps(LINE))
    assert caught.value.code == "E-CORRUPT"


def test_what_an_interrupted_recording_lacks_is_a_failure_by_name(tmp_path: Path) -> None:
    replayed = opened(tmp_path, json.dumps(LINE))
    other = Request("r1", (3,), Sampling(4), ())
    assert dict(replayed.generate([REQUEST, other])) == {
        "r0": Completion("yes", "stop", 2),
        "r1": Failure("replay", "not in the recording"),
    }


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A folder with one checkpoint, as the store writes it."""
    sink = Checkpoints(tmp_path / "recorded", "key")
    checkpoint = Checkpoint(3, 1.0, Path(), "adapter", "", 0.5, 0.5, None, None)
    sink.save(checkpoint, lambda f: (f / "adapter_model.safetensors").write_bytes(b"w") and None, lambda _: None)
    return tmp_path / "recorded"


def replayed(folder: Path, out: Path) -> list[Checkpoint]:
    spec = replay.ReplayTrainerSpec()
    return list(replay.trainer.train(folder, [], [], spec, Checkpoints(out, "key"), lambda *_: None))


def test_recorded_checkpoints_are_used_again(recorded: Path, tmp_path: Path) -> None:
    (found,) = replayed(recorded, tmp_path / "out")
    assert (found.step, found.folder) == (3, tmp_path / "out" / "checkpoints" / "step-000003")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("MANIFEST.json", b"{"),
        ("MANIFEST.json", b'{"files": {}, "checkpoint": {"step": 3}}'),
        ("MANIFEST.json", None),
        ("adapter_model.safetensors", b"other"),
        ("adapter_model.safetensors", None),
    ],
)
def test_a_damaged_recorded_checkpoint_is_one_error_with_its_file(
    recorded: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    (file,) = (recorded / "checkpoints").rglob(name)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with pytest.raises(EnvironmentFault, match=name) as caught:
        replayed(recorded, tmp_path / "out")
    assert caught.value.code == "E-CORRUPT"
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*.safetensors"))
