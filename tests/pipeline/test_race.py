"""Checkpoints that race: fewer answers for the same choice, and what is left out is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from harness.backends.fake import FakeBackend
from harness.core.records import RunResult
from harness.core.types import Outcome, Request
from harness.store import layout
from harness.store.encoding import parse
from tests.conftest import FAKE, Ran, make_echo_task, write_rows

Harness = Callable[..., Ran]
# Skill grows by a third of what is missing in each epoch.
TRAINED = ("trainer.epochs=8", "trainer.lr=0.3")


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """With 160 validation rows: enough to tell the first checkpoints from the last."""
    folder = make_echo_task(tmp_path / "echo")
    write_rows(folder / "validation.jsonl", range(1000, 1160))
    return folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Everything that a backend was asked."""
    found: list[Request] = []
    generate = FakeBackend.generate

    def noting(self: FakeBackend, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        found.extend(requests)
        return generate(self, requests)

    monkeypatch.setattr(FakeBackend, "generate", noting)
    return found


def folder_of(out: str) -> Path:
    (folder,) = (path for path in Path(out).glob("echo/*") if path.is_dir())
    return folder


def result_in(out: str) -> RunResult:
    return parse(RunResult, (folder_of(out) / layout.RESULT).read_bytes(), name=layout.RESULT)


def test_a_race_asks_less_and_chooses_the_same(harness: Harness, task: Path, asked: list[Request]) -> None:
    counts, chosen = [], []
    for race in ("false", "true"):
        asked.clear()
        ran = harness("run", f"task={task}", *FAKE, *TRAINED, f"select.race={race}", f"out={race}")
        assert ran.code == 0, ran.err
        validation = {f"row-{n}" for n in range(1000, 1160)}
        counts.append(sum(r.checkpoint is not None and r.id.partition(" ")[2] in validation for r in asked))
        chosen.append(result_in(race).selection.chosen_step)
    assert counts[0] == 8 * 160
    assert counts[1] < 0.75 * counts[0]
    assert chosen[0] == chosen[1]


def test_who_left_is_excluded_with_the_samples_it_answered_and_no_failures(
    harness: Harness, task: Path, asked: list[Request]
) -> None:
    harness("run", f"task={task}", *FAKE, *TRAINED, "select.race=true", "out=race")
    result = result_in("race")
    left = {name: why for name, why in result.selection.excluded.items() if "left the race after" in why}
    assert left
    for name, why in left.items():
        record = result.evaluation(name, "validation")
        answered = len({r.id for r in asked if r.checkpoint is not None and r.checkpoint.name == name})
        assert f"after {answered} of 160 samples" in why
        assert (record.n, record.estimates[0].n, record.estimates[0].failures) == (answered, answered, 0)
        assert record.failures == {}
    whole = [e for e in result.evaluations if e.split == "validation" and e.step is not None and e.arm not in left]
    assert whole
    assert {e.n for e in whole} == {160}


def test_a_race_that_was_killed_goes_on_to_the_same_bytes(
    harness: Harness, task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("run", f"task={task}", *FAKE, *TRAINED, "select.race=true")
    assert harness(*words, "out=whole").code == 0
    generate = FakeBackend.generate
    left = [1000]

    def dying(self: FakeBackend, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        for item in generate(self, requests):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(FakeBackend, "generate", dying)
        harness(*words, "out=resumed")
    assert left[0] < 0
    assert not (folder_of("resumed") / layout.RESULT).exists()
    assert harness(*words, "out=resumed").code == 0
    whole = folder_of("whole")
    names = [file.relative_to(whole) for file in whole.glob("evaluations/*/outcomes.jsonl")]
    assert len(names) > 12
    for name in (layout.RESULT, layout.SELECTION, *names):
        assert (whole / name).read_bytes() == (folder_of("resumed") / name).read_bytes()


RECOMPUTED = """
class Half:
    name, signature, higher_is_better, best, worst = "half", "half", True, 1.0, 0.0

    def score(self, samples, completions):
        return 0.5


def half(context):
    return Half()
"""


REFUSED = [["select.patience=2"], ["metrics.primary=own.py:half"], ["select.rule=last"]]


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_race_is_refused_before_anything_is_written(harness: Harness, task: Path, words: list[str]) -> None:
    (task / "own.py").write_text(RECOMPUTED)
    ran = harness("run", f"task={task}", *FAKE, *TRAINED, "select.race=true", *words)
    assert ran.code == 2
    assert "E-CONFLICT" in ran.err
    assert not Path("runs").exists()


def of_checkpoints(asked: list[Request]) -> int:
    return sum(request.checkpoint is not None for request in asked)


def test_a_race_asks_for_nothing_that_the_cache_has(harness: Harness, task: Path, asked: list[Request]) -> None:
    counts = []
    for words in ([], ["select.race=true"], ["select.race=true", "select.rule=best"]):
        asked.clear()
        assert harness("run", f"task={task}", *FAKE, *TRAINED, *words).code == 0
        counts.append(of_checkpoints(asked))
    assert counts[0] > 8 * 160
    assert counts[1:] == [0, 0]


def test_answers_of_a_race_are_not_asked_again_by_a_run_without_one(
    harness: Harness, task: Path, asked: list[Request]
) -> None:
    words = ("run", f"task={task}", *FAKE, *TRAINED)
    harness(*words, "select.race=true", "out=shared")
    n_raced = of_checkpoints(asked)
    harness(*words, "out=shared")
    harness(*words, "out=alone")
    folders = [path.parent for out in ("shared", "alone") for path in Path(out).glob("echo/*/result.json")]
    whole = [f for f in folders if not parse(RunResult, (f / layout.RESULT).read_bytes(), name="").selection.excluded]
    assert len(whole) == 2
    assert (whole[0] / layout.RESULT).read_bytes() == (whole[1] / layout.RESULT).read_bytes()
    n_alone = 8 * 160 + 40
    assert of_checkpoints(asked) == n_raced + (n_alone - n_raced) + n_alone


def test_who_left_the_race_is_not_chosen_however_little_coverage_is_asked(harness: Harness, task: Path) -> None:
    words = ("run", f"task={task}", *FAKE, *TRAINED, "select.race=true", "select.min_coverage=0.1", "select.rule=best")
    assert harness(*words, "out=race").code == 0
    result = result_in("race")
    left = [name for name, why in result.selection.excluded.items() if "left the race" in why]
    assert left
    assert f"step-{result.selection.chosen_step:06d}" not in left


def test_a_few_failures_do_not_end_a_race_for_anybody(harness: Harness, task: Path) -> None:
    """Three in a hundred fail for everybody, which by chance are more than one in twenty of the first samples."""
    words = ("run", f"task={task}", *FAKE, *TRAINED, "backend.options.fail.boom=0.03", "--allow-failures")
    for seed in (1, 2, 3):
        ran = harness(*words, "select.race=true", f"seed={seed}", f"out={seed}")
        assert ran.code == 0, ran.err
        assert result_in(str(seed)).selection.chosen_step is not None


def test_what_failed_is_asked_again_by_the_next_run_and_nothing_else(
    harness: Harness, task: Path, asked: list[Request]
) -> None:
    words = ("run", f"task={task}", *FAKE, "backend.options.fail.boom=0.03", "select.min_coverage=0.5")
    assert harness(*words, "trainer.lr=0.2", "--allow-failures").code == 0
    result = result_in("runs")
    n_failed = sum(sum(e.failures.values()) for e in result.evaluations if e.step is None)
    asked.clear()
    assert harness(*words, "trainer.lr=0.3", "--allow-failures").code == 0
    assert sum(request.checkpoint is None for request in asked) == n_failed > 0


def test_samples_of_one_group_are_asked_together(harness: Harness, task: Path, asked: list[Request]) -> None:
    for file in task.glob("*.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        grouped = [{**row, "customer": f"{file.stem} {number % 40}"} for number, row in enumerate(rows)]
        file.write_text("".join(json.dumps(row) + "\n" for row in grouped))
    grouped = [json.loads(line) for line in (task / "validation.jsonl").read_text().splitlines()]
    assert harness("run", f"task={task}", *FAKE, *TRAINED, "select.race=true", "data.group=customer").code == 0
    of_group = {row["id"]: row["customer"] for row in grouped}
    left = [name for name, why in result_in("runs").selection.excluded.items() if "left the race" in why]
    assert left
    for name in left:
        found = {r.id.partition(" ")[2] for r in asked if r.checkpoint is not None and r.checkpoint.name == name}
        inside = {of_group[sample] for sample in found if sample in of_group}
        assert {sample for sample, group in of_group.items() if group in inside} == found & of_group.keys()
        assert len(inside) < 40
