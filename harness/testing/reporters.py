"""What every reporter promises: the same run gives the same bytes, and what a model wrote stays text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from harness.core.licences import JudgeCard
from harness.core.protocols import CardRenderer, Reporter, RunView
from harness.store import layout
from harness.testing.cards import bare_card, full_card
from harness.testing.promises import ConformanceError, raised, require, shown
from harness.testing.views import (
    HOSTILE_MARKUP,
    HOSTILE_TEXT,
    finished_view,
    hostile_view,
    judged_view,
    untuned_view,
)

_MARKUP = (".html", ".htm", ".md", ".svg", ".xml")
_TEXT = (*_MARKUP, ".txt", ".csv", ".tsv")
# ESC begins a terminal's control sequences; U+202E turns the direction of all that follows.
_INVISIBLE = ("\x1b", "\u202e")
# Names of the run folder that the store itself writes.
_TAKEN = frozenset(
    value
    for name, value in vars(layout).items()
    if name.isupper() and isinstance(value, str) and value != layout.REPORT
)


def check_reporter(reporter: Reporter, *, view: RunView | None = None) -> None:
    """ConformanceError unless the reporter keeps every promise on runs tuned, untuned, judged and full of hostile text.

    view: a run of your own to render as well.
    """
    views: dict[str, RunView] = {
        "a tuned run": finished_view(),
        "an untuned run": untuned_view(),
        "a judged run": judged_view(),
        "a run full of hostile text": hostile_view(),
    }
    if view is not None:
        views["the given run"] = view
    for what, each in views.items():
        _renders(partial(reporter.render, each), what)
    _shows_hostile_text_as_text(partial(reporter.render, hostile_view()))


def check_card_reporter(reporter: CardRenderer, *, card: JudgeCard | None = None) -> None:
    """ConformanceError unless the reporter keeps every promise on judge cards full, bare, and full of hostile text.

    card: a card of your own to render as well.
    """
    cards = {
        "a full card": full_card("words and more words"),
        "a bare card": bare_card("words and more words"),
        "a card full of hostile text": full_card(HOSTILE_TEXT),
    }
    if card is not None:
        cards["the given card"] = card
    for what, each in cards.items():
        _renders(partial(reporter.render, each), what)
    _shows_hostile_text_as_text(partial(reporter.render, full_card(HOSTILE_TEXT)))


def _renders(render: Callable[[], Mapping[str, bytes]], what: str) -> None:
    files = _rendered(render, what)
    require(bool(files), "there is at least one file", f"{what} gives none")
    for name, content in files.items():
        _is_safe_name(name)
        filled = isinstance(content, bytes) and bool(content)
        require(filled, "a file is bytes, and not empty", f"{name!r} of {what} is {shown(content)}")
    again = _rendered(render, what)
    different = sorted(name for name in files.keys() | again.keys() if files.get(name) != again.get(name))
    require(not different, "the same run gives the same bytes", f"{what}: {', '.join(different)} differs")


def _rendered(render: Callable[[], Mapping[str, bytes]], what: str) -> Mapping[str, bytes]:
    try:
        return render()
    except Exception as err:
        raise ConformanceError("every finished run can be rendered", f"{what} raises {raised(err)}") from err


def _is_safe_name(name: str) -> None:
    plain = name.isascii() and name.isprintable() and not set(name) & set('/\\:*?"<>|')
    safe = plain and bool(name) and not name.startswith(".")
    require(safe, "a file name is one plain name in the run's folder", shown(name))
    require(name not in _TAKEN, "a report overwrites none of the run's own files", shown(name))


def _shows_hostile_text_as_text(render: Callable[[], Mapping[str, bytes]]) -> None:
    for name, content in render().items():
        _keeps_text(name, content)


def _keeps_text(name: str, content: bytes) -> None:
    if not name.lower().endswith(_TEXT):
        return
    text = content.decode("utf-8", "replace")
    if name.lower().endswith(_MARKUP):
        raw = HOSTILE_MARKUP in text
        require(not raw, "what a model wrote stays text", f"{name!r} holds {HOSTILE_MARKUP!r} as markup")
    for character in _INVISIBLE:
        promise = "characters that hide or act are shown as escapes"
        require(character not in text, promise, f"{name!r} holds {character!a}")
