"""The command: runs that others share, ranks that agree with the runs' own numbers, failures that stop nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.bench.grid import Grid, plan
from harness.bench.result import Ended, assemble
from harness.cli import benching, execution
from harness.cli.app import Stopped
from harness.core.bench import BenchResult
from harness.store.encoding import parse
from tests.conftest import Ran, make_echo_task, words_row

Harness = Callable[..., Ran]
COMMON = ("backend=fake", "trainers=fake", "n_resamples=300")


@pytest.fixture
def tasks(tmp_path: Path) -> str:
    """Two tasks with different test rows, as one word."""
    one, two = make_echo_task(tmp_path / "one"), make_echo_task(tmp_path / "two")
    (two / "test.jsonl").write_text("".join(json.dumps(words_row(n)) + "\n" for n in range(300, 330)))
    return f"tasks={one},{two}"


def bench_of(folder: Path = Path("runs")) -> BenchResult:
    file = next(folder.glob("bench-*/bench.json"))
    return parse(BenchResult, file.read_bytes(), name="bench.json")


def test_ranks_agree_with_the_numbers_of_the_runs(harness: Harness, tasks: str) -> None:
    ran = harness("bench", tasks, "models=fake", *COMMON)
    assert ran.code == 0, ran.err
    result = bench_of()
    assert [each.way for each in result.competitors] == ["untuned, zero-shot", "best untuned", "tuned with fake"]
    for contest in result.contests:
        run = json.loads(next(Path("runs", contest.task).glob("*/result.json")).read_text())
        on_test = {e["arm"]: e["estimates"][0]["value"] for e in run["evaluations"] if e["split"] == "test"}
        for entry in contest.entries:
            assert entry.value == pytest.approx(on_test[entry.arm])
        by_rank = sorted(contest.entries, key=lambda entry: entry.rank)
        assert [entry.value for entry in by_rank] == sorted((e.value for e in contest.entries), reverse=True)
        comparison = run["comparisons"][-1]
        assert contest.lead is not None
        assert contest.lead.difference == pytest.approx(comparison["delta"])
        assert contest.lead.told_apart
    best = result.standings[0]
    assert (result.competitors[best.competitor].role, best.mean_rank, best.missing) == ("tuned", 1.0, ())
    assert sum(standing.first or 0 for standing in result.standings) == pytest.approx(1)


def test_without_trainers_a_model_competes_as_each_task_tunes_it(harness: Harness, tasks: str) -> None:
    for number, name in enumerate(tasks.removeprefix("tasks=").split(",")):
        file = Path(name) / "task.toml"
        file.write_text(file.read_text() + f'\n[trainer]\nname = "fake"\nepochs = {number + 2}\n')
    words = [word for word in COMMON if not word.startswith("trainer")]
    assert harness("bench", tasks, "models=fake", *words).code == 0
    result = bench_of()
    assert [each.way for each in result.competitors] == ["untuned, zero-shot", "best untuned", "tuned"]
    assert all(standing.missing == () for standing in result.standings)


def test_typed_again_it_repeats_nothing_and_writes_the_same_bytes(harness: Harness, tasks: str) -> None:
    first = harness("bench", tasks, "models=fake", *COMMON)
    folder = next(Path("runs").glob("bench-*"))
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    again = harness("bench", tasks, "models=fake", *COMMON)
    assert again.err.count("this run is finished; nothing was done") == 2
    assert again.out == first.out
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert set(before) >= {"bench.json", "leaderboard.html", "summary.md"}


def test_a_run_made_before_is_part_of_the_bench(harness: Harness, tasks: str) -> None:
    one = tasks.removeprefix("tasks=").partition(",")[0]
    harness("run", f"task={one}", "model=fake", "backend=fake", "trainer=fake", "n_resamples=300")
    ran = harness("bench", tasks, "models=fake", *COMMON)
    assert ran.err.count("this run is finished; nothing was done") == 1
    assert len(list(Path("runs/one").iterdir())) == 1


def test_a_run_that_fails_is_shown_and_the_others_go_on(harness: Harness, tasks: str) -> None:
    Path("runs").mkdir()
    Path("runs/one").write_text("in the way")
    ran = harness("bench", tasks, "models=fake", *COMMON)
    assert ran.code == 4
    failed, finished = bench_of().cells
    assert (failed.task, failed.finished, failed.exit_code) == ("one", False, 4)
    assert (finished.task, finished.finished, finished.exit_code) == ("two", True, 0)
    assert "Failed: one, fake, fake: could not create folder" in ran.out
    assert [contest.task for contest in bench_of().contests] == ["two"]


def test_what_only_a_run_would_refuse_is_refused_for_all_before_the_first(
    harness: Harness, tasks: str, tmp_path: Path
) -> None:
    """Rows that no run can go on with, in the last task only: the others must not have been paid for."""
    with (tmp_path / "two" / "train.jsonl").open("a") as stream:
        stream.write('{"id": "x", "question": "no answer"}\n')
    ran = harness("bench", tasks, "models=fake,fake2", *COMMON)
    assert ran.code == 2
    assert "task=two model=fake trainer=fake and 1 more: the data has 1 error" in ran.err
    assert "train.jsonl:25" in ran.err
    assert not Path("runs").exists()


def test_a_trainer_for_other_models_and_bad_rows_are_refused_together(
    harness: Harness, tasks: str, tmp_path: Path
) -> None:
    with (tmp_path / "one" / "train.jsonl").open("a") as stream:
        stream.write('{"id": "x", "question": "no answer"}\n')
    ran = harness("bench", tasks, "models=fake", "backend=fake", "trainers=fake,lora", "n_resamples=300")
    assert ran.code == 2
    assert "task=one model=fake trainer=fake: the data has 1 error" in ran.err
    assert "trainer=lora and 1 more: trainer 'lora' cannot train the models of backend 'fake'" in ran.err
    assert "nothing was run" in ran.err
    assert not Path("runs").exists()


def test_a_competitor_without_a_task_is_ranked_on_the_others_and_marked(harness: Harness, tasks: str) -> None:
    words = (tasks, "models=fake,fake2", *COMMON)
    harness("bench", *words)
    grid = plan(words, drop_bad=False, identify=benching._run_id)
    ended = [Ended(cell, 0) for cell in grid.cells]
    missing = next(i for i, cell in enumerate(grid.cells) if (cell.task, cell.model) == ("two", "fake2"))
    ended[missing] = replace(ended[missing], exit_code=4, reason="out of memory")
    result = assemble(grid, ended)
    marked = {result.competitors[s.competitor].model: s.missing for s in result.standings}
    assert marked == {"fake": (), "fake2": ("two",)}
    assert [bool(standing.missing) for standing in result.standings] == [False] * 3 + [True] * 3
    assert any("fake2 (tuned with fake) has no score on two" in caution for caution in result.cautions)
    # On "one" both tuned models give the same answers and share ranks 1 and 2; on "two" only one of them is there.
    tuned = {result.competitors[s.competitor].model: s for s in result.standings if s.competitor in (2, 5)}
    assert (tuned["fake"].mean_rank, tuned["fake2"].mean_rank) == (1.25, 1.5)
    assert tuned["fake2"].first is None


def test_only_samples_that_all_competitors_answered_are_ranked(harness: Harness, tasks: str) -> None:
    fail = 'backend.options.fail={"timeout": 0.1}'
    words = (tasks, "models=fake", *COMMON, fail, "select.min_coverage=0.5")
    assert harness("bench", *words).code == 3
    result = bench_of()
    for contest in result.contests:
        lines = next(Path("runs", contest.task).glob("*/samples.jsonl")).read_text().splitlines()
        scores = [json.loads(line)["scores"] for line in lines]
        arms = [entry.arm for entry in contest.entries]
        rows = [row for row in scores if all(row[arm]["exact_match"] is not None for arm in arms)]
        assert contest.n == len(rows) < len(scores)
        for entry in contest.entries:
            assert entry.value == pytest.approx(sum(row[entry.arm]["exact_match"] for row in rows) / len(rows))
    assert any("ranked on the" in caution for caution in result.cautions)
    assert harness("bench", *words, "--allow-failures").code == 0


def test_groups_are_resampled_whole(harness: Harness, tmp_path: Path) -> None:
    folder = make_echo_task(tmp_path / "grouped")
    for split in ("train", "validation", "test"):
        file = folder / f"{split}.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        rows = [{**row, "book": f"{split} {n // 4}"} for n, row in enumerate(rows)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    toml = (folder / "task.toml").read_text()
    (folder / "task.toml").write_text(toml.replace("[prompting]", 'group = "book"\n\n[prompting]'))
    assert harness("bench", f"tasks={folder}", "models=fake", *COMMON).code == 0
    assert (bench_of().contests[0].n, bench_of().contests[0].n_clusters) == (40, 10)


def test_every_run_that_compared_on_the_same_rows_is_a_look(harness: Harness, tmp_path: Path) -> None:
    """A run of another task on the same test rows counts; one that has not compared yet does not."""
    one, other = make_echo_task(tmp_path / "one"), make_echo_task(tmp_path / "other")
    single = ("model=fake", "backend=fake", "trainer=fake", "n_resamples=300")
    for seed in (1, 2):
        harness("run", f"task={other}", *single, f"seed={seed}")
    next(Path("runs/other").glob("*/comparisons.json")).unlink()
    ran = harness("bench", f"tasks={one}", "models=fake", *COMMON)
    assert bench_of().cells[0].looks == 2
    assert len(bench_of().contests[0].looks) == 2
    assert "2 runs have compared on this one test split" in ran.out


def test_json_is_all_that_stands_on_stdout(harness: Harness, tasks: str) -> None:
    ran = harness("bench", tasks, "models=fake", *COMMON, "--json")
    assert json.loads(ran.out)["bench_id"] == bench_of().bench_id


def test_a_dry_run_counts_what_is_to_do_and_writes_nothing(harness: Harness, tasks: str) -> None:
    ran = harness("bench", tasks, "models=fake", *COMMON, "--dry-run", "--json")
    assert ran.code == 0, ran.err
    one, two = json.loads(ran.out)["runs"]
    # As for one run: zero-shot and three draws of two shots on validation and test, three checkpoints on
    # validation, the chosen one on test.
    assert one["generations"] == 4 * (16 + 40) + 3 * 16 + 40
    assert two["generations"] == 4 * (16 + 30) + 3 * 16 + 30
    assert not Path("runs").exists()
    assert "0 of 2 runs to do" not in harness("bench", tasks, "models=fake", *COMMON, "--dry-run").out


def test_a_mistake_is_refused_before_anything_runs(harness: Harness, tasks: str) -> None:
    ran = harness("bench", tasks, "models=fake", *COMMON, "trainer.epocs=2")
    assert ran.code == 2
    assert "trainer.epochs" in ran.err
    assert not Path("runs").exists()


def test_stopped_in_between_the_bench_itself_is_what_resumes(
    harness: Harness, tasks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_one, calls = execution.execute, []

    def stop_at_the_second(*arguments: object, **options: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise Stopped(2)
        run_one(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(execution, "execute", stop_at_the_second)
    ran = harness("bench", tasks, "models=fake", *COMMON)
    assert ran.code == 130
    assert f"resume with: harness bench {tasks} models=fake" in ran.err
    assert len(list(Path("runs").glob("*/*/result.json"))) == 1


def test_names_of_models_are_escaped_on_the_terminal(harness: Harness, tasks: str) -> None:
    ran = harness("bench", tasks, "models=a\x1b[31m\u202eb", *COMMON)
    assert ran.code == 0, ran.err
    assert "\x1b" not in ran.out + ran.err
    assert "\u202e" not in ran.out + ran.err


def test_data_that_changed_since_leaves_ranks_without_intervals(harness: Harness, tasks: str, tmp_path: Path) -> None:
    words = (tasks, "models=fake", *COMMON)
    harness("bench", *words)
    grid = plan(words, drop_bad=False, identify=benching._run_id)
    (tmp_path / "one" / "test.jsonl").write_text(json.dumps(words_row(999)) + "\n")
    result = assemble(grid, [Ended(cell, 0) for cell in grid.cells])
    assert [bool(contest.no_intervals) for contest in result.contests] == [True, False]
    assert [entry.rank_low for entry in result.contests[0].entries] == [None] * 3
    assert [standing.low for standing in result.standings] == [None] * 3
    assert result.standings[0].mean_rank == 1
    assert any("one: ranks have no intervals" in caution for caution in result.cautions)


def test_a_grid_knows_where_its_runs_are(tasks: str) -> None:
    words = [tasks, "models=fake", *COMMON, "out=elsewhere"]
    grid: Grid = plan(words, drop_bad=False, identify=lambda settings: f"id-of-{settings.spec.task.name}")
    assert [cell.folder for cell in grid.cells] == [Path("elsewhere/one/id-of-one"), Path("elsewhere/two/id-of-two")]


UNSCORED = '''
"""Exact match without a score of any one sample, as of a correlation."""

import numpy as np


class Unscored:
    name = "unscored"
    signature = "unscored|v:1"
    higher_is_better = True
    best = 1.0
    worst = 0.0

    def measure(self, samples, completions):
        pairs = zip(samples, completions, strict=True)
        return np.array([[float(text in sample.references), 1.0] for sample, text in pairs]).reshape(-1, 2)

    def value(self, totals):
        with np.errstate(invalid="ignore", divide="ignore"):
            return totals[..., 0] / totals[..., 1]

    def per_sample(self, statistics):
        return np.full(len(statistics), np.nan)


def create(context):
    return Unscored()
'''


def test_samples_answered_without_a_score_of_their_own_are_ranked_like_any(harness: Harness, tmp_path: Path) -> None:
    """The same statistics as exact match, so the same ranks and intervals; who answered stands in the outcomes."""
    words = ("models=fake", *COMMON, 'backend.options.fail={"timeout": 0.1}', "select.min_coverage=0.5")
    folder = make_echo_task(tmp_path / "one")
    harness("bench", f"tasks={folder}", *words, "out=scored")
    (folder / "unscored.py").write_text(UNSCORED)
    file = folder / "task.toml"
    file.write_text(file.read_text().replace('"exact_match"', '"unscored.py:create"'))
    ran = harness("bench", f"tasks={folder}", *words, "out=unscored")
    [scored], [unscored] = (bench_of(Path(out)).contests for out in ("scored", "unscored"))
    answered = [
        [b'"completion"' in line for line in outcomes.read_bytes().splitlines()]
        for outcomes in Path("unscored/one").glob("*/evaluations/*.test/outcomes.jsonl")
    ]
    assert 0 < unscored.n == sum(map(all, zip(*answered, strict=True))) < 40
    assert unscored.no_intervals == ""
    for one, other in zip(scored.entries, unscored.entries, strict=True):
        assert (one.value, one.rank, one.rank_low, one.rank_high, one.first) == pytest.approx(
            (other.value, other.rank, other.rank_low, other.rank_high, other.first)
        )
    assert "ranks have no intervals" not in ran.out


OWN = '''
"""How many different answers there are: no sum of rows gives it."""


class Distinct:
    name = "distinct"
    signature = "distinct|v:1"
    higher_is_better = True
    best = 1.0
    worst = 0.0

    def score(self, samples, completions):
        return len(set(completions)) / len(completions) if completions else float("nan")


def create(context):
    return Distinct()
'''


def test_a_metric_over_whole_sets_of_answers_ranks_without_intervals(harness: Harness, tmp_path: Path) -> None:
    folder = make_echo_task(tmp_path / "own")
    (folder / "own.py").write_text(OWN)
    file = folder / "task.toml"
    file.write_text(file.read_text().replace('"exact_match"', '"own.py:create"'))
    ran = harness("bench", f"tasks={folder}", "models=fake", *COMMON)
    assert ran.code == 0, ran.err
    contest = bench_of().contests[0]
    assert "no statistics to resample" in contest.no_intervals
    assert contest.lead is None
    for entry in contest.entries:
        assert entry.value == entry.estimate.value
        assert (entry.rank_low, entry.first) == (None, None)
    assert bench_of().standings[0].mean_rank == min(entry.rank for entry in contest.entries)
    assert "ranks have no intervals" in ran.out
