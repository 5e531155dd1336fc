"""What a whole run asks, chooses and tests, seen from outside: no leaks into prompts, and what is chosen is tested."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from harness.backends.fake import FakeBackend
from harness.core.records import RunResult
from harness.core.types import Outcome, Request, Sampling, TokenRow
from harness.store.encoding import parse
from tests.conftest import FAKE, Ran
from trainers.fake import FakeTrainer

Harness = Callable[..., Ran]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Every request that reaches the backend."""
    requests: list[Request] = []
    generate = FakeBackend.generate

    def noting(self: FakeBackend, batch: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        requests.extend(batch)
        return generate(self, batch)

    monkeypatch.setattr(FakeBackend, "generate", noting)
    return requests


def run(harness: Harness, task: Path, *words: str) -> RunResult:
    ran = harness("run", f"task={task}", *FAKE, *words)
    assert ran.code == 0, ran.err
    newest = max(Path("runs", task.name).glob("*/result.json"), key=lambda file: file.stat().st_mtime_ns)
    return parse(RunResult, newest.read_bytes(), name="result.json")


def answers(task: Path, *splits: str) -> dict[str, str]:
    rows = [json.loads(line) for split in splits for line in (task / f"{split}.jsonl").read_text().splitlines()]
    return {row["id"]: row["answer"] for row in rows}


def prompt(request: Request) -> str:
    return bytes(token for token in request.ids if token < 256).decode()


def n_shots(request: Request) -> int:
    """Assistant turns that stand in the prompt already: token 258 begins one, the last is still to be written."""
    return request.ids.count(258) - 1


def test_no_prompt_and_no_training_row_holds_an_answer_of_validation_or_test(
    harness: Harness, echo_task: Path, asked: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[TokenRow] = []
    train = FakeTrainer.train

    def noting(self: FakeTrainer, model: object, rows: Sequence[TokenRow], *more: object) -> object:
        trained.extend(rows)
        return train(self, model, rows, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeTrainer, "train", noting)
    run(harness, echo_task)
    canaries = answers(echo_task, "validation", "test").values()
    texts = {prompt(request) for request in asked} | {
        bytes(token for token in row.ids if token < 256).decode() for row in trained
    }
    assert len(trained) == 24
    assert not [canary for canary in canaries for text in texts if canary in text]
    shown = answers(echo_task, "train").values()
    assert any(answer in text for answer in shown for text in (prompt(request) for request in asked))


def sample_of(request: Request) -> str:
    """Candidates that are asked in one batch have their place in it before the sample's id."""
    return request.id.partition(" ")[2]


def test_every_arm_is_asked_with_its_own_number_of_shots(
    harness: Harness, echo_task: Path, asked: list[Request]
) -> None:
    found = run(harness, echo_task, "prompting.shots=0,2,3")
    tuned = [request for request in asked if request.checkpoint is not None]
    untuned = [request for request in asked if request.checkpoint is None]
    assert {n_shots(request) for request in tuned} == {0}
    # 16 validation and 40 test samples, and three draws of the same number of shots.
    assert Counter(n_shots(request) for request in untuned) == {0: 56, 2: 3 * 56, 3: 3 * 56}
    zero = {sample_of(request): request.ids for request in untuned if n_shots(request) == 0}
    assert all(request.ids == zero[sample_of(request)] for request in tuned)
    assert {e.arm: e.shots for e in found.evaluations if e.step is None} == {f"base-{k}shot": k for k in (0, 2, 3)}


def test_every_setting_of_generation_reaches_the_backend(
    harness: Harness, echo_task: Path, asked: list[Request]
) -> None:
    words = {"max_tokens": "9", "temperature": "0.7", "top_p": "0.9", "top_k": "5", "repetition_penalty": "1.2"}
    run(harness, echo_task, *(f"generation.{key}={value}" for key, value in words.items()), 'generation.stop=["#"]')
    wanted = Sampling(9, temperature=0.7, top_p=0.9, top_k=5, repetition_penalty=1.2, stop=("#",), seed=0)
    assert {request.sampling for request in asked} == {wanted}


def test_the_checkpoint_that_was_chosen_is_the_one_that_is_tested(
    harness: Harness, echo_task: Path, asked: list[Request]
) -> None:
    found = run(harness, echo_task, "trainer.epochs=6", "trainer.lr=0.25", "select.rule=best")
    steps = {checkpoint.step: checkpoint.sha256 for checkpoint in found.checkpoints}
    chosen = found.selection.chosen_step
    assert chosen == found.selection.best_step != min(steps)
    [tested] = [record for record in found.evaluations if record.split == "test" and record.step is not None]
    assert (tested.step, tested.adapter_sha256) == (chosen, steps[chosen or 0])
    test_ids = answers(echo_task, "test").keys()
    weights = {request.checkpoint.sha256 for request in asked if sample_of(request) in test_ids and request.checkpoint}
    assert weights == {steps[chosen or 0]}


def test_where_lower_is_better_the_lowest_is_chosen_and_patience_waits_for_lower(
    harness: Harness, echo_task: Path
) -> None:
    words = ("metrics.primary=cer", "trainer.lr=0.3", "trainer.epochs=12", "select.patience=2", "select.rule=best")
    found = run(harness, echo_task, *words)
    values = {name: estimate.value or 0.0 for name, estimate in found.selection.scores.items()}
    untuned = {name: value for name, value in values.items() if name.startswith("base")}
    assert untuned["base-0shot"] != untuned["base-2shot"]
    assert untuned[str(found.selection.best_untuned)] == min(untuned.values())
    tuned = [values[f"step-{checkpoint.step:06d}"] for checkpoint in found.checkpoints]
    assert values[f"step-{found.selection.best_step:06d}"] == min(tuned)
    assert len(tuned) < 12
    assert min(tuned[-2:]) >= min(tuned[:-2])


def test_one_changed_test_row_makes_another_run(harness: Harness, echo_task: Path) -> None:
    first = run(harness, echo_task)
    file = echo_task / "test.jsonl"
    file.write_text(file.read_text().replace("RIVER", "DELTA", 1))
    second = run(harness, echo_task)
    assert second.run_id != first.run_id
    assert len(list(Path("runs/echo").glob("*/result.json"))) == 2
