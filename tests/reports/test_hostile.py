"""What models and data files write stays text: in the page, its charts, the summary and the table."""

import html.parser
import io
import json
import re

import pandas as pd
import pytest

from reports import charts, judges, markdown, parquet, text
from reports.html import page
from reports.judge_card import card as card_renderer
from reports.judge_charts import card_figures
from tests.reports.hostile import CORPUS, Renamed, benign, hostile, mapped
from tests.reports.judged import judged, validation
from tests.reports.reading import Page, payload
from tests.reports.view import view

BUNDLE = ("QQ==", "'sha256-bundle'")
SMALL = judged(view(24), "advisory", validation(simulated=True, warning="other systems"), simulated=True)


@pytest.fixture(scope="module")
def plain() -> Page:
    return Page(page(benign(SMALL), BUNDLE))


def test_corpus_has_two_hundred_different_strings():
    assert len(set(CORPUS)) == 200


@pytest.mark.parametrize("start", range(0, 200, 20))
def test_hostile_strings_add_no_element_and_no_attribute(plain: Page, start: int):
    found = Page(page(hostile(SMALL, start=start), BUNDLE))
    assert found.structure[0] == plain.structure[0]
    assert found.structure[1] == plain.structure[1]


def test_hostile_text_arrives_as_text():
    found = Page(page(hostile(SMALL, width=1), BUNDLE))
    assert "<script>document.title='owned'</script>" in found.text
    assert "\\x1b[2J" in found.text


def test_no_invisible_character_reaches_the_page():
    unseen = mapped(SMALL, Renamed(("\u202e\x1b[2J\u2028\x00\ud800\U000e0041",)))
    source = page(unseen, BUNDLE)
    assert text.visible(source.replace("\n", "")) == source.replace("\n", "")
    carried = json.dumps(payload(source), ensure_ascii=False)
    assert text.visible(carried) == carried


def test_page_never_closes_its_data_early():
    source = page(hostile(SMALL), BUNDLE)
    assert source.count("</script>") == source.count("<script") == 3


def test_megabyte_on_one_line_is_cut_with_a_note():
    rows = list(SMALL.rows)
    rows[0].outputs["tuned"] = "y" * 1_000_000  # type: ignore[index]
    try:
        source = page(SMALL, BUNDLE)
    finally:
        rows[0].outputs["tuned"] = "y"  # type: ignore[index]
    carried = payload(source)
    assert len(source) < 400_000
    assert "[996,000 more characters, see results.parquet]" in str(carried["rows"])


class Tags(html.parser.HTMLParser):
    """Names of the tags in a label."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)


def strings(value: object) -> list[str]:
    """Every string in a figure."""
    if isinstance(value, dict):
        return [found for item in value.values() for found in strings(item)]
    if isinstance(value, list):
        return [found for item in value for found in strings(item)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_chart_labels_hold_only_our_own_markup(start: int):
    tags = Tags()
    bad = hostile(SMALL, width=1, start=start)
    drawn = charts.figures(bad.result, judges.unproven(bad)) | card_figures(bad.judges[0], "judge-1")
    assert {"effect", "judge-1-reliability", "judge-1-transport"} <= drawn.keys()
    for each in strings(drawn):
        tags.feed(each + " ")
    assert tags.names <= {"b", "br", "span"}


def test_summary_keeps_hostile_text_inside_its_cells():
    runs = (benign(SMALL), hostile(SMALL))
    lines = [markdown.reporter.render(each)["summary.md"].decode().splitlines() for each in runs]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines[0]] == [
        len(re.findall(r"(?<!\\)\|", line)) for line in lines[1]
    ]
    assert not any(re.search(r"<[a-z!/]", line) for line in lines[1])
    assert not any("`" in line.replace("\\`", "") for line in lines[1])


def test_table_carries_hostile_text_whole():
    bad = hostile(SMALL, width=1)
    table = pd.read_parquet(io.BytesIO(parquet.reporter.render(bad)["results.parquet"]))
    assert table["prompt"].iloc[0] == bad.rows[0].prompt.encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize("start", range(0, 200, 40))
def test_hostile_strings_add_no_element_to_a_judge_card(start: int):
    cards = [each(SMALL).judges[0] for each in (benign, lambda run: hostile(run, start=start))]
    plain, found = (Page(card_renderer.render(each)["card.html"].decode()) for each in cards)
    assert found.structure == plain.structure


def test_judge_card_in_markdown_keeps_hostile_text_inside_its_cells():
    cards = [each(SMALL).judges[0] for each in (benign, hostile)]
    lines = [card_renderer.render(each)["card.md"].decode().splitlines() for each in cards]
    bars = [[len(re.findall(r"(?<!\\)\|", line)) for line in each] for each in lines]
    assert bars[0] == bars[1]
    assert not any(re.search(r"<[a-z!/]", line) for line in lines[1])
