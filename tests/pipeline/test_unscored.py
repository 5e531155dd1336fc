"""Answers on which a judge has no verdict: counted wherever its figures stand, and never a score."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from harness.core.records import RunResult
from harness.store.encoding import parse
from tests.conftest import Ran
from tests.pipeline.loud import WORDS, make_judged_task

Harness = Callable[..., Ran]
FAKE = ("model=fake", "trainer=fake", "n_resamples=200")
CAVEAT = "judge:loud has no verdict on some answers, and its figures are over the others: 15 of 40 with base-0shot"


def only_run() -> Path:
    [file] = Path("runs").glob("*/*/result.json")
    return file.parent


def test_lost_verdicts_of_a_judge_beside_the_primary_are_counted(harness: Harness, tmp_path: Path) -> None:
    task = make_judged_task(tmp_path / "one", n_silent=15)
    ran = harness("run", f"task={task}", "metrics.report=judge:loud", "backend=fake", *FAKE)
    assert ran.code == 0, ran.err
    run = only_run()
    found = parse(RunResult, (run / "result.json").read_bytes(), name="result.json")
    for record in (record for record in found.evaluations if record.split == "test"):
        assert (record.estimate("judge:loud").n, record.unscored("judge:loud")) == (25, 15)
        assert record.unscored("exact_match") == 0
    assert f"Note: {CAVEAT}" in ran.out
    assert "unanswered" not in ran.out
    summary = (run / "summary.md").read_text()
    assert "(15 without a score)" in summary
    assert "15 of 40 with base-0shot" in summary
    assert "15 answers without a score" in (run / "report.html").read_text()
    log = (run / "run.log").read_text()
    assert "judge:loud: 15 of 40 without a verdict: judge: lost its\\x1b[31m voice (15)" in log
    assert "\x1b" not in log
    scores = [json.loads(line)["scores"]["base-0shot"]["judge:loud"] for line in (run / "samples.jsonl").open()]
    assert scores[:15] == [None] * 15
    assert None not in scores[15:]


def test_a_deciding_judge_without_verdicts_is_not_said_to_lack_answers(harness: Harness, tmp_path: Path) -> None:
    task = make_judged_task(tmp_path / "one", n_silent=15)
    ran = harness("run", f"task={task}", *WORDS, *FAKE, "select.min_coverage=0.1", "--allow-failures")
    assert ran.code == 0, ran.err
    assert "37.5% of the test samples without a score; a comparison is over the samples that both sides" in ran.out
    assert CAVEAT in ran.out
    assert "unanswered" not in ran.out


def test_with_all_verdicts_nothing_is_said_of_lost_ones(harness: Harness, tmp_path: Path) -> None:
    ran = harness("run", f"task={make_judged_task(tmp_path / 'one')}", *WORDS, *FAKE)
    assert ran.code == 0, ran.err
    assert "verdict" not in ran.out
    assert "without a score" not in (only_run() / "summary.md").read_text()
    assert "without a verdict" not in (only_run() / "run.log").read_text()
