"""Real models, really tuned, on the CPU: killed at several points, and the same bytes in the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import make_echo_task, write_rows
from tests.models.zoo import build_zoo
from tests.pipeline.faults import result_bytes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A run of a tiny Llama with random weights: two checkpoints, dropout on."""
    home = tmp_path_factory.mktemp("real")
    task = make_echo_task(home / "echo")
    for name, numbers in (("train", range(10)), ("validation", range(100, 104)), ("test", range(200, 206))):
        write_rows(task / f"{name}.jsonl", numbers)
    model = build_zoo(home / "zoo", names=("llama3",))["llama3"]
    settings = ["trainer.epochs=2", "trainer.batch_rows=4", "trainer.lr=0.01", "trainer.dropout=0.1"]
    settings += ["prompting.shots=0,1", "prompting.draws=1", "generation.max_tokens=6", "n_resamples=100"]
    return ["run", f"task={task}", f"model={model}", *settings, "model.dtype=float32"]


def call(words: list[str], home: Path, at: int = 0) -> tuple[int, int]:
    """(exit code, disk operations), killed at operation `at` if it is not 0."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "faulty_main.py"), "kill", str(at), *words],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -9), done.stderr
    count = done.stdout.rstrip().rpartition("\n")[2]
    return done.returncode, int(count) if count.isdigit() else 0


def folder_of(home: Path) -> Path:
    return next((home / "runs").glob("[!.]*/*"))


@pytest.fixture(scope="module")
def reference(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], int]:
    home = tmp_path_factory.mktemp("reference")
    code, count = call(words, home)
    assert code == 0
    return result_bytes(folder_of(home)), count


def test_tuning_killed_at_several_points_gives_the_same_adapters_and_the_same_result(
    words: list[str], reference: tuple[dict[str, bytes], int], tmp_path: Path
) -> None:
    wanted, count = reference
    assert sum(name.endswith("adapter_model.safetensors") for name in wanted) == 2
    for share in (0.3, 0.45, 0.6):
        home = tmp_path / str(share)
        home.mkdir()
        assert call(words, home, at=int(share * count))[0] == -9
        assert call(words, home)[0] == 0
        found = result_bytes(folder_of(home))
        assert found.keys() == wanted.keys()
        assert [name for name in wanted if found[name] != wanted[name]] == []


def test_every_tuned_evaluation_proves_its_adapter(reference: tuple[dict[str, bytes], int]) -> None:
    wanted, _ = reference
    proofs = {name: json.loads(content) for name, content in wanted.items() if name.endswith("adapter.json")}
    tuned = {name: proof for name, proof in proofs.items() if "step-" in name}
    assert len(tuned) == 3
    assert all(proof["max_logit_change"] > 0 and proof["n_keys"] > 0 for proof in tuned.values())
    assert all(proof is None for name, proof in proofs.items() if name not in tuned)
