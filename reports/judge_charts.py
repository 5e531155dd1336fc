"""The charts of a judge card: how calibrated its scores are, and whether it errs alike on all systems."""

from __future__ import annotations

import html
from collections.abc import Sequence

from pydantic import JsonValue

from harness.core.licences import Bin, JudgeCard, Transport
from reports.cards import drawable
from reports.forest import Line, forest
from reports.numbers import finite, interval, number
from reports.plot import Figure, axis, label, layout, title

_ROLES = {"pass": "@good", "fail": "@bad", "inconclusive": "@unsure", "not run": "@muted"}
# Rows of the forest plot; the table below it has every pair.
_MOST_PAIRS = 12
# Pixels across of the smallest and the largest dot of the reliability diagram.
_DOTS = (6.0, 13.0)


def card_figures(card: JudgeCard, place: str) -> dict[str, Figure]:
    """The charts this card has data for, by the id of their place on the page, which begins with `place`."""
    charts: dict[str, Figure] = {}
    if drawable(card.reliability):
        charts[f"{place}-reliability"] = reliability(drawable(card.reliability))
    if any(finite(each.difference) is not None for each in card.transport):
        charts[f"{place}-transport"] = transport(card.transport, card.licence.delta)
    return charts


def reliability(bins: Sequence[Bin]) -> Figure:
    """Human score by calibrated score, with 95 % intervals, against the line on which a calibrated judge lies."""
    dots: dict[str, JsonValue] = {
        "type": "scatter",
        "mode": "markers",
        "x": [each.predicted for each in bins],
        "y": [each.observed for each in bins],
        "marker": {"color": "@tuned", "size": _sizes(bins), "line": {"color": "@ground", "width": 1.5}, "opacity": 1},
        "error_y": _errors(bins),
        "hovertext": [_bin_words(each) for each in bins],
        "hoverinfo": "text",
    }
    ends: dict[str, JsonValue] = {"range": [-0.03, 1.03], "nticks": 6}
    drawn = layout(
        title=title("mean label by the judge's score"),
        xaxis=axis("calibrated score of the judge", **ends),
        yaxis=axis("", **ends),
        shapes=[_diagonal()],
        showlegend=False,
        height=340,
        margin={"l": 52, "r": 12, "t": 46, "b": 52},
        hovermode="closest",
    )
    return {"data": [dots], "layout": drawn}


def _sizes(bins: Sequence[Bin]) -> JsonValue:
    """Dots whose area follows the number of items."""
    most = max(each.n for each in bins) or 1
    small, large = _DOTS
    return [round(small + (large - small) * (each.n / most) ** 0.5, 1) for each in bins]


def _errors(bins: Sequence[Bin]) -> JsonValue:
    above: JsonValue = [_reach(each.high, each.observed) for each in bins]
    below: JsonValue = [_reach(each.observed, each.low) for each in bins]
    look: dict[str, JsonValue] = {"color": "@tuned", "thickness": 1.6, "width": 4}
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, **look}


def _reach(high: float, low: float) -> float:
    """The length of one side of an interval, none where an end is unknown."""
    reach = finite(high - low)
    return 0.0 if reach is None else max(reach, 0.0)


def _bin_words(each: Bin) -> str:
    ends = interval(finite(each.low), finite(each.high))
    return f"judge {number(each.predicted)}, label {number(each.observed)} {ends}<br>{each.n} items"


def _diagonal() -> JsonValue:
    ends: dict[str, JsonValue] = {"x0": 0, "y0": 0, "x1": 1, "y1": 1}
    return {"type": "line", **ends, "line": {"color": "@untuned", "width": 1.5, "dash": "dot"}, "layer": "below"}


def transport(pairs: Sequence[Transport], delta: float) -> Figure:
    """One row per two systems: how much more the judge overrates the one, against the margin it has to stay in."""
    known = [pair for pair in pairs if finite(pair.difference) is not None]
    lines = [_line(pair) for pair in (known if len(known) <= _MOST_PAIRS else _worst(known))]
    return forest(lines, "difference in (judge − label)", band=delta, row=84, whole=True)


def _worst(pairs: Sequence[Transport]) -> list[Transport]:
    """The pairs to look at where they are too many: those that did not pass, then the largest differences."""
    return sorted(pairs, key=lambda pair: (pair.passed == "pass", -abs(pair.difference)))[:_MOST_PAIRS]


def _line(pair: Transport) -> Line:
    ends = (finite(pair.low), finite(pair.high))
    detail = f"{number(pair.difference, signed=True)} {interval(*ends, signed=True)} · {pair.passed}"
    counts = f"{pair.n[0]} and {pair.n[1]} items"
    words = html.escape(detail, quote=False) + f"<br>{counts}"
    sides = f"<b>{label(pair.system, 26)}</b> minus {label(pair.other, 26)}"
    return Line(pair.difference, ends, sides, words, _ROLES[pair.passed])
