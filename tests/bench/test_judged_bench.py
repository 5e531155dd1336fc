"""A bench of runs that a judge decided: ranked by its scores where it is one judge, and by nobody's where it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.bench import BenchResult
from harness.store.encoding import parse
from tests.conftest import Ran
from tests.pipeline.loud import WORDS, make_judged_task

Harness = Callable[..., Ran]
COMMON = (*WORDS, "trainers=fake", "n_resamples=200")


def bench_of() -> BenchResult:
    [file] = Path("runs").glob("bench-*/bench.json")
    return parse(BenchResult, file.read_bytes(), name="bench.json")


def rows_of(run_id: str, task: str = "one") -> list[dict[str, dict[str, dict[str, float | None]]]]:
    return [json.loads(line) for line in Path("runs", task, run_id, "samples.jsonl").read_text().splitlines()]


def test_runs_that_a_judge_decided_are_ranked_by_its_mean_scores(harness: Harness, tmp_path: Path) -> None:
    ran = harness("bench", f"tasks={make_judged_task(tmp_path / 'one')}", "models=fake", *COMMON)
    assert ran.code == 0, ran.err
    [contest] = bench_of().contests
    assert (contest.metric, contest.n, contest.no_intervals) == ("judge:loud", 40, "")
    for entry in contest.entries:
        scores = [row["scores"][entry.arm]["judge:loud"] for row in rows_of(entry.run_id)]
        assert entry.value == pytest.approx(sum(score or 0 for score in scores) / 40)
        assert entry.rank_low is not None
    assert contest.lead is not None
    assert "one: judge:loud decides, licensed by 240 labels of people" in ran.out


def test_simulated_annotators_behind_a_deciding_judge_are_named(harness: Harness, tmp_path: Path) -> None:
    task = make_judged_task(tmp_path / "one", annotators="Simulated-1,bob")
    assert harness("bench", f"tasks={task}", "models=fake", *COMMON).code == 0
    assert any("labels of simulated annotators" in caution for caution in bench_of().cautions)


def test_answers_without_a_verdict_leave_the_others_ranked(harness: Harness, tmp_path: Path) -> None:
    """The judge is silent on 15 of the 40 test questions: the other 25 are what all competitors have a score on."""
    task = make_judged_task(tmp_path / "one", n_silent=15)
    ran = harness("bench", f"tasks={task}", "models=fake", *COMMON, "select.min_coverage=0.1", "--allow-failures")
    assert ran.code == 0, ran.err
    [contest] = bench_of().contests
    assert (contest.n, contest.no_intervals) == (25, "")
    for entry in contest.entries:
        scores = [row["scores"][entry.arm]["judge:loud"] for row in rows_of(entry.run_id)]
        assert scores.count(None) == 15
        assert entry.value == pytest.approx(sum(score for score in scores if score is not None) / 25)


def test_a_judge_that_may_not_decide_leaves_its_fallback_to_be_ranked(harness: Harness, tmp_path: Path) -> None:
    task = make_judged_task(tmp_path / "one")
    (task / "labels.jsonl").unlink()
    words = [word.replace("json_valid", "exact_match") for word in COMMON]
    ran = harness("bench", f"tasks={task}", "models=fake", *words)
    assert ran.code == 0, ran.err
    [contest] = bench_of().contests
    assert (contest.metric, contest.no_intervals) == ("exact_match", "")


def test_a_judge_that_asks_each_runs_own_model_ranks_nobody_and_says_why(harness: Harness, tmp_path: Path) -> None:
    ran = harness("bench", f"tasks={make_judged_task(tmp_path / 'one')}", "models=fake,fake2", *COMMON)
    assert ran.code == 0, ran.err
    result = bench_of()
    assert (result.contests, result.standings) == ((), ())
    assert all(cell.finished for cell in result.cells)
    assert "one: nobody is ranked, because judge:loud is not the same judge in all of its runs" in ran.out
    assert "a [model] of its own in judge.toml" in ran.out
    assert "No run finished" not in ran.out
    [page] = Path("runs").glob("bench-*/leaderboard.html")
    assert "Nobody can be ranked." in page.read_text()
    assert "No run finished" not in page.read_text()


def test_a_judge_with_a_model_of_its_own_ranks_all_models(harness: Harness, tmp_path: Path) -> None:
    task = make_judged_task(tmp_path / "one", model="fake3")
    assert harness("bench", f"tasks={task}", "models=fake,fake2", *COMMON).code == 0
    [contest] = bench_of().contests
    assert (contest.metric, len(contest.entries), contest.no_intervals) == ("judge:loud", 6, "")


def test_runs_that_different_metrics_decided_are_not_ranked_together(harness: Harness, tmp_path: Path) -> None:
    task = make_judged_task(tmp_path / "one", deaf="fake2")
    ran = harness("bench", f"tasks={task}", "models=fake,fake2", *COMMON)
    assert ran.code == 0, ran.err
    result = bench_of()
    assert [cell.metric for cell in result.cells] == ["judge:loud", "json_valid"]
    assert (result.contests, result.standings) == ((), ())
    assert "different metrics decided in its runs: json_valid with fake2 and judge:loud with fake;" in ran.out
