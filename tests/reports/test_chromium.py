"""The page in a real browser, from file://: charts are drawn, nothing is refused, nothing hostile runs."""

import html.parser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from reports.html import reporter
from reports.judge_card import render_card
from tests.reports.hostile import hostile
from tests.reports.judged import judged, validation
from tests.reports.view import View, empty, view

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium binary on the path")
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
    "--v=0",
    "--virtual-time-budget=30000",
    "--dump-dom",
)


def opened(source: bytes, folder: Path) -> tuple[str, list[str]]:
    """(the document after its scripts ran, what the console said)."""
    path = folder / "report.html"
    path.write_bytes(source)
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [str(CHROMIUM), *FLAGS, *root, f"--user-data-dir={folder / 'profile'}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=90, check=True)
    said = [line for line in done.stderr.decode(errors="replace").splitlines() if "CONSOLE" in line]
    # The browser's own pages complain of a slow network where there is none.
    return done.stdout.decode(), [line for line in said if "source: chrome://" not in line]


def rendered(run: View) -> bytes:
    return reporter.render(run)["report.html"]


def test_charts_and_samples_appear_without_a_console_message(tmp_path: Path):
    document, console = opened(rendered(view()), tmp_path)
    assert console == []
    assert document.count('class="chart js-plotly-plot"') == 4
    assert document.count('class="main-svg"') >= 4
    assert document.count("<article") == 20
    assert "1 to 20 of 200" in document
    assert "<title>e2e_nlg: better</title>" in document


def test_hostile_run_draws_too_and_nothing_of_it_runs(tmp_path: Path):
    document, console = opened(rendered(hostile(judged(view(40), "advisory", validation()), width=3)), tmp_path)
    assert console == []
    assert document.count('class="chart js-plotly-plot"') == 5
    assert "<title>owned" not in document
    found = Names()
    found.feed(document)
    assert not found.names & {"img", "iframe", "base", "link", "object", "embed", "plaintext", "noscript", "math"}
    assert not [name for name in found.attributes if name.startswith("on")]


def test_smallest_run_opens_without_a_console_message(tmp_path: Path):
    document, console = opened(rendered(empty()), tmp_path)
    assert console == []
    assert "Nothing can be said." in document


def test_judge_card_draws_its_charts_without_a_console_message(tmp_path: Path):
    document, console = opened(render_card(hostile(judged(view(4)), width=3).judges[0]), tmp_path)
    assert console == []
    assert document.count('class="chart js-plotly-plot"') == 2
    assert "<title>owned" not in document


class Names(html.parser.HTMLParser):
    """Names of all elements and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes.update(name for name, _ in attrs)
