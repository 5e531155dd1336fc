"""The leaderboard's page and summary: every number is there, links lead to the runs, nothing hostile is markup."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness.core.bench import BenchResult, Cell, Competitor, Contest, Entry, Lead, Role, Standing
from harness.core.records import Estimate
from reports import text
from reports.leaderboard import leaderboard, page, span
from reports.leaderboard_markdown import leaderboard as markdown
from tests.reports.hostile import CORPUS, Renamed, mapped
from tests.reports.reading import Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MODELS = ("small", "large")


def estimate(value: float) -> Estimate:
    return Estimate("rouge_l", value, value - 0.05, value + 0.05, 200, 200, 0, "rouge_l|v:1")


def entry(competitor: int, value: float, rank: float) -> Entry:
    low, high = max(1.0, rank - 1), min(6.0, rank + 1)
    return Entry(competitor, f"run-{competitor}", f"arm-{competitor}", estimate(value), value, rank, low, high, 1 / 6)


def contest(task: str, values: list[float], *, looks: int) -> Contest:
    order = sorted(values, reverse=True)
    return Contest(
        task=task,
        metric="rouge_l",
        higher_is_better=True,
        n=200,
        n_clusters=50,
        entries=tuple(entry(place, value, order.index(value) + 1.0) for place, value in enumerate(values)),
        lead=Lead(5, 2, 0.04, -0.01, 0.09, 0.21, 5, False),
        test_sha256="ab" * 32,
        looks=tuple(f"look-{n}" for n in range(looks)),
        no_intervals="",
    )


def cell(task: str, model: str) -> Cell:
    figures = [estimate(value) for value in (0.2, 0.3, 0.4)]
    return Cell(
        task, model, "lora", f"{model}-lora-1", 0, "", "rouge_l", 200, figures[0], figures[1], "base-4shot", figures[2],
        "step-000010", 0.1, 0.04, 0.16, "better", 4,
    )  # fmt: skip


def bench() -> BenchResult:
    """Two models, untuned, best untuned and tuned, on two tasks; one run failed."""
    roles: tuple[Role, ...] = ("zero-shot", "best untuned", "tuned")
    competitors = tuple(
        Competitor(model, role, "lora" if role == "tuned" else None) for model in MODELS for role in roles
    )
    contests = (
        contest("news", [0.21, 0.31, 0.41, 0.22, 0.32, 0.45], looks=4),
        contest("tickets", [0.51, 0.61, 0.71, 0.52, 0.62, 0.72], looks=1),
    )
    ranks = {5: 1.0, 2: 2.0, 4: 3.0, 1: 4.0, 3: 5.0}
    standings = [Standing(place, rank, max(1, rank - 0.5), rank + 0.5, 0.2, ()) for place, rank in ranks.items()]
    standings.append(Standing(0, 6.0, None, None, None, ("tickets",)))
    failed = Cell("tickets", "small", "lora", "small-lora-2", 4, "out of memory")
    return BenchResult(
        bench_id="bench-0a1b2c3d",
        tasks=("news", "tickets"),
        models=MODELS,
        trainers=("lora",),
        competitors=competitors,
        cells=(cell("news", "small"), cell("news", "large"), failed, cell("tickets", "large")),
        contests=contests,
        standings=tuple(standings),
        lead=Lead(5, 2, 1.0, 0.5, 1.5, None, 5, True),
        verdicts=("Over all tasks, large (tuned with lora) is first.", "On news, nobody can be told apart."),
        cautions=("news: 4 runs have compared on this one test split",),
        n_resamples=10_000,
    )


def empty() -> BenchResult:
    """Every run failed."""
    failed = tuple(replace(each, metric=None, reason="no memory", exit_code=4) for each in bench().cells)
    return replace(bench(), cells=failed, contests=(), standings=(), lead=None, verdicts=(), cautions=())


def test_page_has_every_score_rank_and_interval() -> None:
    found = Page(page(bench()))
    for each in bench().contests:
        for one in each.entries:
            assert one.value in found.values
            assert one.estimate.low in found.values
            assert one.rank in found.values
    for standing in bench().standings:
        assert standing.mean_rank in found.values
    assert bench().verdicts[0] in found.text
    assert "news: 4 runs have compared on this one test split." in found.text
    assert "4 runs have compared on this test split" in found.text
    assert "1 run has compared on this test split" in found.text
    assert "failed: out of memory" in found.text
    assert "3 of 4" in found.text


def test_competitor_without_a_task_is_marked() -> None:
    assert "1 of 2 tasks" in Page(page(bench())).text
    lines = markdown.render(bench())["summary.md"].decode().splitlines()
    assert any("6.00 (without tickets)" in line for line in lines)


def test_first_is_called_clear_only_if_it_is_told_apart() -> None:
    assert "A clear first" in Page(page(bench())).text
    lead = bench().lead
    assert lead is not None
    assert "No clear first" in Page(page(replace(bench(), lead=replace(lead, told_apart=False)))).text
    # With one task its own comparison decides, and that one says they cannot be told apart.
    assert "No clear first" in Page(page(replace(bench(), contests=bench().contests[:1]))).text


def test_links_lead_from_the_bench_to_the_reports_of_its_runs() -> None:
    links = [
        value for name, attrs in Page(page(bench())).elements if name == "a" for key, value in attrs if key == "href"
    ]
    assert "../news/run-0/report.html" in links
    assert "../tickets/large-lora-1/report.html" in links
    assert not any("small-lora-2" in str(link) for link in links)


def test_page_loads_nothing_and_has_no_script() -> None:
    source = page(bench())
    policies = [dict(attributes).get("content") for name, attributes in Page(source).elements if name == "meta"]
    assert any("default-src 'none'; script-src 'none';" in str(policy) for policy in policies)
    names = {name for name, _ in Page(source).elements}
    assert not names & {"script", "img", "link", "iframe", "object", "embed", "base"}


def test_same_result_gives_the_same_bytes() -> None:
    assert leaderboard.render(bench()) == leaderboard.render(bench())
    assert set(leaderboard.render(bench())) == {"leaderboard.html"}
    assert set(markdown.render(bench())) == {"summary.md"}


def test_bench_without_a_score_has_a_page() -> None:
    found = Page(page(empty())).text
    assert "No run finished, so nothing can be ranked." in found
    assert "Nobody has a score." in found
    assert "no memory" in markdown.render(empty())["summary.md"].decode()


def renamed(payloads: tuple[str, ...], width: int = 1) -> BenchResult:
    """The bench with something else in each of its strings but the roles."""
    roles = {competitor.role for competitor in bench().competitors}
    change = Renamed(payloads, width)
    return mapped(bench(), lambda string: string if string in roles else change(string))


@pytest.mark.parametrize("start", range(0, 200, 20))
def test_hostile_strings_add_no_element_and_change_no_attribute_but_links(start: int) -> None:
    plain, found = (Page(page(renamed(payloads))) for payloads in (("word",), CORPUS[start:] + CORPUS[:start]))
    assert [name for name, _ in found.elements] == [name for name, _ in plain.elements]
    assert found.ended == plain.ended
    for (_, attributes), (_, expected) in zip(found.elements, plain.elements, strict=True):
        assert [name for name, _ in attributes] == [name for name, _ in expected]
        for name, value in attributes:
            if name == "href" and not str(value).startswith("#"):
                assert re.fullmatch(r"\.\./[\w.~%-]+/[\w.~%-]+/report\.html", str(value)), value


def test_no_invisible_character_reaches_page_or_summary() -> None:
    bad = renamed(("\u202e\x1b[2J\u2028\x00\ud800\U000e0041",))
    for content in (*leaderboard.render(bad).values(), *markdown.render(bad).values()):
        source = content.decode().replace("\n", "")
        assert text.visible(source) == source


def test_summary_keeps_hostile_text_inside_its_cells() -> None:
    lines = [markdown.render(renamed(payloads))["summary.md"].decode().splitlines() for payloads in (("word",), CORPUS)]
    bars = [[len(re.findall(r"(?<!\\)\|", line)) for line in each] for each in lines]
    assert bars[0] == bars[1]
    assert not any(re.search(r"<[a-z!/]", line) for line in lines[1])


def test_mean_ranks_lie_on_a_line_from_first_to_last() -> None:
    """By hand: rank 2 of 5 competitors is a quarter of the way, 1.5 to 3 is from 12.5 % to 50 %."""
    found = span(Standing(0, 2.0, 1.5, 3.0, None, ()), 5)
    assert (found.at, found.left, found.width) == (25.0, 12.5, 37.5)
    assert span(Standing(0, 1.0, None, None, None, ()), 1).at == 0


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium binary on the path")
@pytest.mark.parametrize("result", [bench(), renamed(CORPUS, 3)], ids=["plain", "hostile"])
def test_browser_shows_it_without_a_console_message(result: BenchResult, tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.html"
    path.write_bytes(leaderboard.render(result)["leaderboard.html"])
    flags = [
        "--headless",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--enable-logging=stderr",
    ]
    flags += ["--v=0", "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", f"--user-data-dir={tmp_path / 'profile'}"]
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    done = subprocess.run([str(CHROMIUM), *flags, *root, path.as_uri()], capture_output=True, timeout=90, check=True)
    said = [line for line in done.stderr.decode(errors="replace").splitlines() if "CONSOLE" in line]
    assert [line for line in said if "source: chrome://" not in line] == []
    assert "<title>owned" not in done.stdout.decode()
