"""The labelling page in a real browser: by keyboard, with a server that is killed, on a phone, with hostile texts."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.autorater.labels import LabelJournal, read_labels
from harness.core.judging import LabelKind, latest
from harness.labelling.offline import came_back, html_sheet
from harness.labelling.server import opener
from harness.labelling.sheet import Sheet, item_id, shown_value
from tests.labelling.serving import RUBRIC, Link, Process, a_sheet, served
from tests.reports.hostile import CORPUS

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright to drive a browser with")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium binary on the path")
expect = sync_api.expect
expect.set_options(timeout=20_000)
FLAGS = [
    "--disable-quic",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
KNOWN = {
    *("form", "h1", "h2", "h3", "p", "div", "span", "button", "input", "section", "details", "summary", "kbd"),
    *("article", "i", "ul", "li"),
}
TEXTS = tuple(text for text in CORPUS if "\ud800" not in text)


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *root])
        yield opened
        opened.close()


@dataclass
class Tab:
    """A page, with all that went wrong in it and everything it asked for."""

    page: sync_api.Page
    faults: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def open(self, link: Link, name: str = "Ada") -> None:
        """As somebody who types a name and begins."""
        self.page.goto(link.link)
        self.page.locator("#name").fill(name)
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#panel")).to_be_visible()
        expect(self.page.locator("#count")).to_contain_text("of")

    def done(self, n: int) -> None:
        """Wait until so many are acknowledged and the next is shown."""
        expect(self.page.locator("#count")).to_contain_text(re.compile(rf"^{n} of"))
        expect(self.page.locator(".scale button:enabled, #done:not([hidden])").first).to_be_visible()

    def shown(self) -> str:
        return self.page.locator("#question").text_content() or ""

    def width(self) -> int:
        return int(self.page.evaluate("document.documentElement.scrollWidth"))


@pytest.fixture
def tab(browser: sync_api.Browser) -> Iterator[Tab]:
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    made = Tab(context.new_page())
    made.page.on("pageerror", lambda error: made.faults.append(str(error)))
    made.page.on("console", lambda message: made.faults.append(message.text) if message.type == "error" else None)
    made.page.on("request", lambda request: made.asked.append(request.url))
    yield made
    context.close()


def test_fifty_labels_by_keyboard_survive_a_killed_server(tab: Tab, tmp_path: Path) -> None:
    server = Process(tmp_path, a_sheet(50))
    port = server.link.port
    questions = {each.id: each.item.question for each in server.sheet.items}
    given: list[tuple[str, int]] = []

    def press(value: int) -> None:
        given.append((tab.shown(), value))
        tab.page.keyboard.press(str(value))

    tab.open(server.link)
    for number in range(20):
        press(number % 5 + 1)
        tab.done(number + 1)
    server.kill()
    assert len(read_labels(tmp_path / "labels.jsonl").labels) == 20, "what was acknowledged is on disk"
    press(2)
    expect(tab.page.locator("#status")).to_contain_text("Not saved yet")
    expect(tab.page.locator("#count")).to_contain_text("20 of 50")

    server = Process(tmp_path, port=port)
    expect(tab.page.locator("#status")).to_contain_text("open the link it printed")
    other = tab.page.context.new_page()
    other.goto(server.link.link)
    tab.done(21)
    for number in range(21, 35):
        press(number % 5 + 1)
        tab.done(number + 1)
    press(4)
    server.kill()
    server = Process(tmp_path, port=port)
    other.goto(server.link.link)
    tab.done(36)
    for number in range(36, 50):
        press(number % 5 + 1)
        tab.done(number + 1)
    server.kill()
    expect(tab.page.locator("#done")).to_be_visible()
    labels = read_labels(tmp_path / "labels.jsonl").labels
    assert [(questions[item_id(label.id)], label.value) for label in labels] == given
    assert len({label.item for label in labels}) == 50


def test_what_a_server_was_killed_in_the_middle_of_saying_is_asked_again(tab: Tab, tmp_path: Path) -> None:
    sheet = a_sheet(4)
    with LabelJournal(tmp_path / "labels.jsonl") as journal, served(sheet, journal) as link:
        tab.open(link)
        # The label is on disk; of its acknowledgement only the beginning arrives.
        cut = {"status": 200, "content_type": "application/json", "body": '{"items": ["'}
        tab.page.route("**/label", lambda route: (route.fetch(), route.fulfill(**cut)), times=1)
        tab.page.keyboard.press("4")
        tab.done(1)
        assert [label.value for label in journal.labels] == [4]


def test_the_file_that_a_browser_is_started_with_leads_in(tab: Tab, tmp_path: Path) -> None:
    sheet = a_sheet(2)
    with LabelJournal(tmp_path / "labels.jsonl") as journal, served(sheet, journal) as link, opener(link.link) as file:
        tab.page.goto(file.as_uri())
        expect(tab.page.locator("#who")).to_be_visible()
        assert tab.page.url == f"http://127.0.0.1:{link.port}/", "without the secret"
        assert tab.page.evaluate("document.cookie") == ""
    assert tab.faults == []


def test_who_comes_back_goes_on_where_they_stopped(tab: Tab, tmp_path: Path) -> None:
    sheet = a_sheet(6)
    with LabelJournal(tmp_path / "labels.jsonl") as journal, served(sheet, journal) as link:
        tab.open(link)
        for number in range(3):
            tab.page.keyboard.press("5")
            tab.done(number + 1)
        was = tab.shown()
        tab.page.reload()
        expect(tab.page.locator("#name")).to_have_value("Ada")
        tab.page.keyboard.press("Enter")
        tab.done(3)
        assert tab.shown() == was
        tab.page.reload()
        tab.page.get_by_role("button", name="Ada").click()
        tab.done(3)
    assert tab.faults == []


def test_an_answer_that_was_not_acknowledged_is_sent_after_a_reload_once(tab: Tab, tmp_path: Path) -> None:
    sheet = a_sheet(4)
    with LabelJournal(tmp_path / "labels.jsonl") as journal, served(sheet, journal) as link:
        tab.open(link)
        # The label arrives, its acknowledgement is lost: the worst case for counting twice.
        tab.page.route("**/label", lambda route: (route.fetch(), route.abort()))
        tab.page.keyboard.press("4")
        expect(tab.page.locator("#status")).to_contain_text("Not saved yet")
        tab.page.unroute("**/label")
        tab.page.on("dialog", lambda dialog: dialog.accept())
        tab.page.reload()
        expect(tab.page.locator("#name")).to_have_value("Ada")
        tab.page.keyboard.press("Enter")
        tab.done(1)
        assert [label.value for label in journal.labels] == [4]


def test_undo_goes_back_and_the_old_answer_stands_until_another_is_given(tab: Tab, tmp_path: Path) -> None:
    sheet = a_sheet(5)
    with LabelJournal(tmp_path / "labels.jsonl") as journal, served(sheet, journal) as link:
        tab.open(link)
        first = tab.shown()
        tab.page.keyboard.press("2")
        tab.done(1)
        tab.page.keyboard.press("u")
        expect(tab.page.locator("#question")).to_have_text(first)
        expect(tab.page.locator("#status")).to_contain_text("Your answer was: 2. It stands until you give another.")
        expect(tab.page.locator("[aria-pressed=true]")).to_have_text("2")
        assert len(journal.labels) == 1
        tab.page.keyboard.press("5")
        expect(tab.page.locator("#question")).not_to_have_text(first)
        tab.done(1)
        assert [label.value for label in journal.labels] == [2, 5], "nothing is erased"
        assert [label.value for label in latest(journal.labels)] == [5]


def test_arrows_look_around_and_a_held_key_answers_once(tab: Tab, tmp_path: Path) -> None:
    sheet = a_sheet(5)
    with LabelJournal(tmp_path / "labels.jsonl") as journal, served(sheet, journal) as link:
        tab.open(link)
        first = tab.shown()
        tab.page.keyboard.press("ArrowRight")
        expect(tab.page.locator("#question")).not_to_have_text(first)
        tab.page.keyboard.press("ArrowLeft")
        expect(tab.page.locator("#question")).to_have_text(first)
        for _ in range(6):
            tab.page.keyboard.down("3")
        tab.page.keyboard.up("3")
        tab.done(1)
        tab.page.keyboard.press("Control+4")
        tab.page.keyboard.press("9")
        tab.page.keyboard.press("r")
        tab.done(1)
        assert len(journal.labels) == 1


@pytest.mark.parametrize(
    ("kind", "keys", "values"),
    [("pass_fail", "yn", [1, 0]), ("pair", "abt", ["first", "second", "tie"]), ("likert", "15", [1, 5])],
)
def test_each_kind_has_its_keys(kind: LabelKind, keys: str, values: list[object], tab: Tab, tmp_path: Path) -> None:
    sheet = a_sheet(4, kind)
    with LabelJournal(tmp_path / "labels.jsonl") as journal, served(sheet, journal) as link:
        tab.open(link)
        for number, key in enumerate(keys):
            tab.page.keyboard.press(key)
            tab.done(number + 1)
        assert [shown_value(label) for label in journal.labels] == values
        assert {label.guideline for label in journal.labels} != {""}
    assert tab.faults == []


def test_two_people_see_how_far_they_agree_and_not_how_the_other_answered(tab: Tab, tmp_path: Path) -> None:
    sheet = a_sheet(4)
    with LabelJournal(tmp_path / "labels.jsonl") as journal, served(sheet, journal) as link:
        for number, value in enumerate((5, 5, 1)):
            link.label(sheet, number, value=value, annotator="Bob")
        by_question = {each.item.question + str(each.answers): at for at, each in enumerate(sheet.items)}
        tab.open(link)
        for number in range(4):
            at = by_question[tab.shown() + str((tab.page.locator("#answers .text").text_content(),))]
            expect(tab.page.locator("[aria-pressed=true]")).to_have_count(0)
            tab.page.keyboard.press("5")
            tab.done(number + 1)
            assert at in range(4)
        expect(tab.page.locator("#agreement")).to_have_text("you and others agree on 2 of 3")


def test_hostile_texts_are_shown_and_do_nothing(tab: Tab, tmp_path: Path) -> None:
    """Ten attacks in each question, answer and reference, until all two hundred have been shown."""
    joined = [" ".join(TEXTS[start : start + 10]) for start in range(0, len(TEXTS), 10)]
    sheet = a_sheet(len(joined), "pair", texts=joined)
    hostile = Sheet(sheet.kind, CORPUS[0], sheet.items, sheet.round, sheet.scale)
    with LabelJournal(tmp_path / "labels.jsonl") as journal, served(hostile, journal) as link:
        tab.open(link)
        seen = ""
        for number in range(len(hostile.items)):
            seen += tab.page.locator("#work").text_content() or ""
            tab.page.keyboard.press("ArrowRight" if number % 2 else "t")
            expect(tab.page.locator("#done:not([hidden]), #work:not([hidden])").first).to_be_visible()
            expect(tab.page.locator(".scale button:enabled, #done:not([hidden])").first).to_be_visible()
    names = set(tab.page.evaluate("[...document.querySelectorAll('main *, header *')].map((each) => each.localName)"))
    assert names <= KNOWN
    assert tab.page.title() == "Labels"
    assert tab.faults == []
    assert {re.sub(r"/\w.*|/\?.*|/$", "", url[7:]) for url in tab.asked} == {f"127.0.0.1:{link.port}", "data:"} - {
        "data:"
    }
    plain = [text for text in TEXTS if text.isascii() and text.isprintable()]
    assert len(plain) > 100
    assert [text for text in plain if text not in seen] == []


def test_characters_that_hide_are_shown_by_their_numbers(tab: Tab, tmp_path: Path) -> None:
    sheet = a_sheet(2, texts=("a\u202eb\u200b\u200bc\U000e0041d\0e",))
    with LabelJournal(tmp_path / "labels.jsonl") as journal, served(sheet, journal) as link:
        tab.open(link)
        assert "aU+202EbU+200B +1cU+E0041dU+0000e" in tab.shown()


@pytest.mark.parametrize("kind", ["likert", "pair"])
def test_a_phone_shows_all_without_scrolling_sideways(
    kind: LabelKind, browser: sync_api.Browser, tmp_path: Path
) -> None:
    sheet = a_sheet(2, kind, texts=("x" * 100_000,))
    context = browser.new_context(viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True)
    tab = Tab(context.new_page())
    with LabelJournal(tmp_path / "labels.jsonl") as journal, served(sheet, journal) as link:
        tab.open(link)
        assert len(tab.shown()) > 100_000
        assert tab.width() == 320
        for button in tab.page.locator(".scale button").all():
            box = button.bounding_box()
            assert box is not None
            assert box["height"] >= 44, "large enough for a finger"
            assert box["y"] + box["height"] <= 640, "in reach however long the text is"
        tab.page.locator(".scale button").first.tap()
        tab.done(1)
        tab.page.locator("#rubric summary").tap()
        assert tab.width() == 320
    context.close()


def test_an_offline_sheet_is_labelled_kept_and_taken_back(tab: Tab, tmp_path: Path) -> None:
    sheet = a_sheet(6, "pair", texts=TEXTS)
    path = tmp_path / "sheet.html"
    path.write_bytes(html_sheet(sheet, rubric=RUBRIC))

    def begin() -> None:
        tab.page.goto(path.as_uri())
        tab.page.locator("#name").fill("Ada")
        tab.page.keyboard.press("Enter")

    begin()
    tab.done(0)
    second = Tab(tab.page.context.new_page())
    second.page.goto(path.as_uri())
    second.page.locator("#name").fill("Bob")
    second.page.keyboard.press("Enter")
    second.done(0)
    for number, key in enumerate("abt"):
        tab.page.keyboard.press(key)
        tab.done(number + 1)
    second.page.keyboard.press("b")
    second.done(1)
    begin()
    tab.done(3)
    for number, key in enumerate("ba", 3):
        tab.page.keyboard.press(key)
        tab.done(number + 1)
    tab.page.keyboard.press("u")
    expect(tab.page.locator("#status")).to_contain_text("A is better")
    tab.page.keyboard.press("t")
    tab.done(5)
    with tab.page.expect_download() as download:
        tab.page.locator("#download").click()
    download.value.save_as(tmp_path / "labels.jsonl")
    labels = latest(came_back(tmp_path / "labels.jsonl", sheet).labels)
    ada = [label for label in labels if label.annotator == "Ada"]
    assert [shown_value(label) for label in ada] == ["first", "second", "tie", "second", "tie"]
    assert [item_id(label.id) for label in ada] == [item.id for item in sheet.items[:5]]
    assert [shown_value(label) for label in labels if label.annotator == "Bob"] == ["second"]
    assert Counter(label.systems for label in labels) == {("secret-base", "secret-tuned"): 6}
    assert tab.faults == []
    assert {url.partition(":")[0] for url in tab.asked} <= {"file", "blob", "data"}


def test_a_browser_that_keeps_nothing_says_so(tab: Tab, tmp_path: Path) -> None:
    sheet = a_sheet(4)
    path = tmp_path / "sheet.html"
    path.write_bytes(html_sheet(sheet, rubric=RUBRIC))
    tab.page.add_init_script("Storage.prototype.setItem = () => { throw new Error('full'); };")
    tab.page.goto(path.as_uri())
    tab.page.locator("#name").fill("Ada")
    tab.page.keyboard.press("Enter")
    tab.done(0)
    for number in range(3):
        tab.page.keyboard.press("4")
        tab.done(number + 1)
        expect(tab.page.locator("#status")).to_contain_text("This browser keeps nothing")
    with tab.page.expect_download() as download:
        tab.page.locator("#download").click()
    download.value.save_as(tmp_path / "labels.jsonl")
    assert [label.value for label in came_back(tmp_path / "labels.jsonl", sheet).labels] == [4, 4, 4]
