"""Words become a grid of runs, and every mistake is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.bench.grid import Grid, cell_words, plan
from harness.config import Settings
from harness.core.errors import EnvironmentFault, HarnessError
from tests.conftest import make_echo_task

FAKE = ("backend=fake", "trainers=fake")


def name_of(settings: Settings) -> str:
    return f"{settings.spec.task.name}-{settings.spec.model.name}-{settings.spec.trainer_name}-{settings.spec.seed}"


def planned(*words: str) -> Grid:
    return plan(words, drop_bad=False, identify=name_of)


@pytest.fixture
def tasks(tmp_path: Path) -> tuple[Path, Path]:
    return make_echo_task(tmp_path / "one"), make_echo_task(tmp_path / "two")


def test_the_grid_is_tasks_by_models_by_trainers() -> None:
    cells = list(cell_words(["tasks=a,b", "models=m,n", "trainers=t,u", "seed=3"]))
    assert len(cells) == 8
    assert cells[0] == ("task=a", "model=m", "trainer=t", "seed=3")
    assert cells[1] == ("task=a", "model=m", "trainer=u", "seed=3")
    assert cells[-1] == ("task=b", "model=n", "trainer=u", "seed=3")


def test_a_name_typed_twice_is_one_run() -> None:
    assert list(cell_words(["tasks=a,a", "models=m"])) == [("task=a", "model=m")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["models=m"], "no tasks were named"),
        (["tasks=a", "task=b"], "task is for a single run"),
        (["tasks=a", "models=m", "model.name=n"], "model.name is for a single run"),
        (["tasks=a", "tasks=b"], "tasks is given twice"),
        (["tasks=a,,b"], "tasks has an empty name"),
    ],
)
def test_words_that_contradict_the_grid_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(HarnessError, match=said):
        list(cell_words(words))


def test_one_mistake_in_all_runs_is_one_error(tasks: tuple[Path, Path]) -> None:
    with pytest.raises(HarnessError) as caught:
        planned(f"tasks={tasks[0]},{tasks[1]}", "models=a,b", *FAKE, "no_such=1")
    assert caught.value.what == "one setting is wrong"
    assert "no_such" in str(caught.value)


def test_mistakes_of_different_runs_are_all_in_one_error(tasks: tuple[Path, Path]) -> None:
    with pytest.raises(HarnessError) as caught:
        planned(f"tasks={tasks[0]},nowhere", "models=a", "backend=fake", "trainers=fake,lroa")
    shown = str(caught.value)
    assert "there is no task named 'nowhere'" in shown
    assert "there is no trainer named 'lroa'" in shown
    assert caught.value.exit_code == 2


def test_a_mistake_in_the_data_is_refused_before_anything_runs(tasks: tuple[Path, Path]) -> None:
    def refuse(settings: Settings) -> str:
        raise HarnessError(f"{settings.spec.task.name} has no rows", fix="add some", code="E-EMPTY")

    with pytest.raises(HarnessError) as caught:
        plan([f"tasks={tasks[0]},{tasks[1]}", "models=a", *FAKE], drop_bad=False, identify=refuse)
    assert "one has no rows" in str(caught.value)
    assert "two has no rows" in str(caught.value)


def test_a_fault_of_the_machine_is_not_a_mistake_in_the_words(tasks: tuple[Path, Path]) -> None:
    def fail(settings: Settings) -> str:
        raise EnvironmentFault("disk", fix="mend it", code="E-DISK")

    with pytest.raises(EnvironmentFault):
        plan([f"tasks={tasks[0]}", *FAKE], drop_bad=False, identify=fail)


def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    folders = make_echo_task(tmp_path / "x" / "same"), make_echo_task(tmp_path / "y" / "same")
    with pytest.raises(HarnessError, match="two tasks are named 'same'"):
        plan([f"tasks={folders[0]},{folders[1]}", *FAKE], drop_bad=False, identify=lambda s: str(s.task_folder))


def test_the_bench_has_one_name_whatever_the_order_of_its_words(tasks: tuple[Path, Path]) -> None:
    one, two = tasks
    first = planned(f"tasks={one},{two}", "models=a,b", *FAKE)
    assert first.bench_id == planned("models=b,a", f"tasks={two},{one}", *FAKE).bench_id
    assert first.bench_id != planned(f"tasks={one},{two}", "models=a", *FAKE).bench_id
    assert first.bench_id != planned(f"tasks={one},{two}", "models=a,b", *FAKE, "seed=1").bench_id
