"""A recording that is damaged, or was never finished."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.backends.replay import ReplayBackend, backend
from harness.core.errors import EnvironmentFault
from harness.core.judging import LabelScores
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


SCORED = {"request": REQUEST.fingerprint, "labels": [[5], [6, 7]], "log_probs": [-0.5, -2.0]}
STATE = {"request": REQUEST.fingerprint, "hidden": [0.5, -1.25]}


def opened_scores(folder: Path, *lines: object, below: str = "judges/tone") -> ReplayBackend:
    place = folder / below / "label-scores.jsonl"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    options = BackendSpec(name="replay", recording=str(folder))
    return backend.create(ModelSpec(name="fake"), options, thinking=False)


@pytest.mark.parametrize("below", [".", "tone", "judges/tone"])
def test_judges_answers_are_replayed_from_a_folder_of_their_own(tmp_path: Path, below: str) -> None:
    failed = Request("r1", (3,), Sampling(4), ())
    line = {"request": failed.fingerprint, "labels": [[5], [6, 7]], "failure": {"stage": "judge", "reason": "mute"}}
    replayed = opened_scores(tmp_path, SCORED, STATE, line, below=below)
    assert dict(replayed.label_scores([REQUEST, failed], [(6, 7), (5,)])) == {
        "r0": LabelScores((-2.0, -0.5)),
        "r1": Failure("judge", "mute"),
    }
    assert [(name, list(state)) for name, state in replayed.hidden([REQUEST])] == [("r0", [0.5, -1.25])]
    unknown = Failure("replay", "not in the recording")
    assert dict(replayed.label_scores([REQUEST], [(5,), (8,)])) == {"r0": unknown}
    assert dict(replayed.hidden([failed])) == {"r1": unknown}


def test_what_two_models_answered_differently_is_a_failure_by_name(tmp_path: Path) -> None:
    other = Request("r1", (3,), Sampling(4), ())
    same = {**SCORED, "request": other.fingerprint}
    opened_scores(tmp_path, {**SCORED, "model": "a"}, {**same, "model": "a"}, below="judges/a")
    lines = ({**SCORED, "model": "b", "log_probs": [-1, -2]}, {**same, "model": "b"}, {**STATE, "model": "b"})
    opened_scores(tmp_path, *lines, below="judges/b")
    replayed = opened_scores(tmp_path, {**SCORED, "model": "c"}, below="judges/c")
    found = dict(replayed.label_scores([REQUEST, other], [(5,), (6, 7)]))
    assert found["r0"] == Failure("replay", "answered in two ways in the recording: name one judge's folder")
    assert found["r1"] == LabelScores((-0.5, -2.0))
    own = backend.create(
        ModelSpec(name="fake"), BackendSpec(name="replay", recording=str(tmp_path / "judges" / "b")), thinking=False
    )
    assert dict(own.label_scores([REQUEST], [(5,), (6, 7)])) == {"r0": LabelScores((-1.0, -2.0))}


def test_counted_labels_stay_counted(tmp_path: Path) -> None:
    replayed = opened_scores(tmp_path, {**SCORED, "n_samples": 20})
    assert dict(replayed.label_scores([REQUEST], [(5,), (6, 7)])) == {"r0": LabelScores((-0.5, -2.0), 20)}


def test_a_recording_is_another_with_other_judges_answers(tmp_path: Path) -> None:
    identities = [
        opened_scores(tmp_path, {**SCORED, "log_probs": [first, -2.0]}).identity for first in (-0.5, -0.75, -0.5)
    ]
    assert identities[0] == identities[2] != identities[1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"request": "cut of', "EOF"),
        ({"request": "r"}, "one of log_probs, hidden and failure"),
        ({**SCORED, "hidden": [1.0]}, "one of log_probs, hidden and failure"),
        ({**SCORED, "log_probs": [-0.5]}, "one log-probability a label"),
        ({"request": "r", "log_probs": [-0.5]}, "one log-probability a label"),
        ({"request": "r", "labels": [[1]], "hidden": [1.0]}, "no labels"),
        ('{"request": "r", "hidden": [NaN]}', "not finite"),
        ('{"request": "r", "labels": [[1]], "log_probs": [-Infinity]}', "not finite"),
        ("\x1b[31m", "expected value"),
    ],
)
def test_a_damaged_line_of_scores_is_one_error_with_its_place(tmp_path: Path, line: object, said: str) -> None:
    with pytest.raises(EnvironmentFault, match=r"tone/label-scores\.jsonl:2") as caught:
        opened_scores(tmp_path, SCORED, line)
    assert (caught.value.code, caught.value.resumable) == ("E-CORRUPT", False)
    assert said in str(caught.value)
    assert "\x1b" not in str(caught.value)


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
