"""Unsloth's child process with a stand-in for Unsloth itself: transformers and peft behind its two functions."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.types import Checkpoint
from tests.models.fixtures import FolderSink, open_backend, silent, some_rows, weights_file
from trainers import lora, unsloth

STAND_IN = """
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
import torch
print("a banner on standard output")
class FastLanguageModel:
    @staticmethod
    def from_pretrained(model_name, max_seq_length, dtype, load_in_4bit):
        assert not load_in_4bit
        return AutoModelForCausalLM.from_pretrained(model_name, dtype=dtype), None
    @staticmethod
    def get_peft_model(model, r, target_modules, lora_alpha, lora_dropout, bias, use_gradient_checkpointing,
                       random_state, use_rslora):
        torch.manual_seed(random_state)
        return get_peft_model(model, LoraConfig(r=r, target_modules=target_modules, lora_alpha=lora_alpha,
                              lora_dropout=lora_dropout, bias=bias, use_rslora=use_rslora, task_type="CAUSAL_LM"))
"""
ROWS, VALIDATION = some_rows(11), some_rows(4, seed=1)
SETTINGS: dict[str, object] = {
    "epochs": 2,
    "batch_rows": 4,
    "tokens_per_batch": 60,
    "rank": 4,
    "alpha": 8,
    "dropout": 0.0,
    "lr": 3e-3,
    "warmup": 0.3,
    "checkpoint_every": 2,
}
SPEC = unsloth.UnslothSpec.model_validate({**SETTINGS, "python": sys.executable})


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in, where a child process finds it; a CPU will do."""
    package = tmp_path / "site" / "unsloth.py"
    package.parent.mkdir()
    package.write_text(STAND_IN, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setattr(unsloth, "_require_gpu", lambda loaded: None)
    return package


def train(folder: Path, sink: FolderSink, limit: int = 10**6) -> list[Checkpoint]:
    """Checkpoints of a training that is closed after `limit` of them."""
    running = unsloth.trainer.train(open_backend(folder).model, ROWS, VALIDATION, SPEC, sink, silent)
    found = []
    for checkpoint in running:
        found.append(checkpoint)
        if len(found) == limit:
            running.close()  # type: ignore[attr-defined]
            break
    return found


def figures(checkpoints: Sequence[Checkpoint]) -> list[tuple[int, float | None, float | None]]:
    return [(found.step, found.train_loss, found.validation_loss) for found in checkpoints]


def test_the_child_learns_what_lora_learns_from_the_same_rows(zoo: dict[str, Path], tmp_path: Path, installed: Path):
    found = train(zoo["llama3"], FolderSink(tmp_path / "ours"))
    backend = open_backend(zoo["llama3"])
    spec = lora.LoraSpec.model_validate(SETTINGS)
    expected = list(lora.trainer.train(backend.model, ROWS, VALIDATION, spec, FolderSink(tmp_path / "lora"), silent))
    assert [one.step for one in found] == [one.step for one in expected] == [2, 4, 6]
    # The same rows, rates and losses; only the added matrices begin elsewhere.
    assert [one.epoch for one in found] == [one.epoch for one in expected]
    assert found[0].train_loss == pytest.approx(expected[0].train_loss, rel=0.02)
    assert found[-1].validation_loss == pytest.approx(expected[-1].validation_loss, rel=0.05)
    assert found[-1].train_loss < found[0].train_loss  # type: ignore[operator]
    # The loaded model, which serves the checkpoints, is the base again.
    assert not backend.model.model.training


def test_a_training_that_was_stopped_goes_on_where_it_was(zoo: dict[str, Path], tmp_path: Path, installed: Path):
    whole = train(zoo["llama3"], FolderSink(tmp_path / "whole"))
    sink = FolderSink(tmp_path / "stopped")
    assert len(train(zoo["llama3"], sink, limit=1)) == 1
    again = train(zoo["llama3"], sink)
    assert figures(again) == figures(whole)
    for one, other in zip(again, whole, strict=True):
        ours, theirs = (load_file(weights_file(each.folder)) for each in (one, other))
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


def test_a_child_that_fails_is_quoted(zoo: dict[str, Path], tmp_path: Path, installed: Path):
    installed.write_text("raise ImportError('no kernel for this GPU')", encoding="utf-8")
    with pytest.raises(EnvironmentFault, match="no kernel for this GPU") as caught:
        train(zoo["llama3"], FolderSink(tmp_path))
    assert caught.value.code == "E-UNSLOTH"


IN_THE_WAY = """
import os, sys, time
if os.fork() == 0:
    {ready}
    time.sleep(60)
    os._exit(0)
{main}
"""


def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Iterator[unsloth.Said]:
    """What another child says, in place of the one that trains."""
    child = tmp_path / "child.py"
    child.write_text(script, encoding="utf-8")
    monkeypatch.setattr(unsloth, "_CHILD", child)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return unsloth._child({}, SPEC, scratch)


def is_running(process: int) -> bool:
    """Whether a process that is nobody's child here is more than a dead entry, within two seconds."""
    for _ in range(20):
        try:
            state = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.1)
    return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them")
@pytest.mark.parametrize("stop_early", [False, True])
def test_what_the_child_has_started_is_neither_waited_for_nor_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_early: bool
):
    note = tmp_path / "note"
    ready = f"open({str(note)!r}, 'w').write(str(os.getpid()))"
    main = f"""
while not os.path.exists({str(note)!r}) or not open({str(note)!r}).read():
    time.sleep(0.01)
os.write(int(sys.argv[2]), b'{{"step": 1, "loss": 1.5}}\\n')
{"time.sleep(60)" if stop_early else ""}
"""
    began = time.monotonic()
    talking = talk(tmp_path, monkeypatch, IN_THE_WAY.format(ready=ready, main=main))
    assert next(talking) == unsloth.Said(1, 1.5, None)
    if stop_early:
        talking.close()  # type: ignore[attr-defined]
    else:
        assert list(talking) == []
    assert time.monotonic() - began < 30
    assert not is_running(int(note.read_text(encoding="ascii")))


@pytest.mark.parametrize(
    "line", [b'{"step": 2, "lo', b"[]\n", b'{"step": 2}\n', b'{"step": 1e999, "loss": 1}\n', b"\xff\n", b"[1, 2]\n"]
)
def test_a_line_that_is_cut_or_no_step_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes):
    script = f"import os, sys\nos.write(int(sys.argv[2]), {line!r})"
    with pytest.raises(EnvironmentFault, match="said what is not a step") as caught:
        list(talk(tmp_path, monkeypatch, script))
    assert caught.value.code == "E-UNSLOTH"


def test_what_is_missing_is_named_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unsloth, "find_spec", lambda name: None)
    for python, said in ((None, "not installed here"), ("/no/such/python", "no interpreter")):
        with pytest.raises(HarnessError, match=said) as caught:
            unsloth.trainer.settle(ROWS, SPEC.model_copy(update={"python": python}), {})
        assert caught.value.code == "E-INSTALL"
    with pytest.raises(HarnessError, match="int8"):
        unsloth.trainer.settle(ROWS, SPEC, {"quantization": "int8"})


def test_on_a_cpu_the_device_is_named(zoo: dict[str, Path], tmp_path: Path):
    with pytest.raises(EnvironmentFault, match="the model is on cpu") as caught:
        train(zoo["llama3"], FolderSink(tmp_path))
    assert caught.value.code == "E-DEVICE"


def test_settings_that_unsloth_does_not_have_are_refused():
    with pytest.raises(ValidationError, match="trainer=unsloth has no neftune"):
        unsloth.UnslothSpec(neftune=5.0)
