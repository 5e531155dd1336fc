"""A judge's own card: one page and one Markdown file with the same tables."""

import dataclasses
import re

import pytest

from harness.core.licences import Grade
from harness.testing import ConformanceError, check_card_reporter
from reports.judge_card import card as reporter
from reports.judge_card import render_card
from reports.page import csp_hash, plotly
from tests.reports.judged import card
from tests.reports.reading import Page, payload
from tests.reports.view import without


def test_card_keeps_every_promise():
    check_card_reporter(reporter, card=card())


def test_broken_card_is_noticed():
    class Leaking:
        def render(self, card: object) -> dict[str, bytes]:
            return {"card.html": f"<p>{card.judge}</p>".encode("utf-8", "replace")}  # type: ignore[attr-defined]

    with pytest.raises(ConformanceError, match="stays text"):
        check_card_reporter(Leaking())


@pytest.mark.parametrize("grade", ["drive", "shortlist", "advisory", "uncalibrated"])
def test_grade_and_its_reasons_stand_first(grade: Grade):
    mine = card(grade)
    text = Page(render_card(mine).decode()).text
    assert text.index(grade) < text.index(mine.licence.reasons[0]) < text.index("The gate")
    lines = reporter.render(mine)["card.md"].decode().splitlines()
    assert lines[0] == f"# helpfulness: {grade}"
    assert lines[2] == f"**helpfulness: {grade}.** {mine.licence.reasons[0]}"


def test_policy_allows_the_two_scripts_by_hash_and_no_connection():
    source = render_card(card()).decode()
    script = re.search(r"<script>(.*?)</script>", source, re.DOTALL)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', source)
    assert script is not None
    assert policy is not None
    rules = policy.group(1).replace("&#39;", "'").split("; ")
    assert f"script-src {csp_hash(script.group(1))} {plotly()[1]}" in rules
    assert "connect-src 'none'" in rules


def test_card_without_charts_is_small():
    bare = dataclasses.replace(card(), reliability=(), transport=())
    source = render_card(bare)
    assert len(source) < 60_000
    assert payload(source.decode())["charts"] == {}


def test_every_optional_may_be_none():
    assert "no probabilities were read" in Page(render_card(without(card())).decode()).text
    assert reporter.render(without(card()))["card.md"]


def test_card_in_markdown_has_the_records_numbers():
    text = reporter.render(card("advisory"))["card.md"].decode()
    assert (
        "| spearman | 0.622 [0.542, 0.702] | 0.744 [0.664, 0.824] | 0.211 [0.131, 0.291] | – one class only | 240 |"
        in text
    )
    assert "| step-000200 minus base-0shot | +0.160 | [+0.118, +0.202] | fail | 80 and 80 |" in text
    assert "| 3 | 1 | 10 | 41 | 14 | 1 |" in text
    assert "| 0.360 | 0.320 | [0.230, 0.410] | 33 |" in text
    assert "answers: 0.313" in text
    assert "labels: 240 on 230 answers to 80 prompts, 4 repeats" in text
