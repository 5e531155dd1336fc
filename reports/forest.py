"""Forest plots: differences with their intervals, one a row, against the band of those not worth having."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from reports.plot import Figure, axis, layout


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a forest plot. ends: of the interval; title, detail: in Plotly's HTML; role: its colour."""

    value: float
    ends: tuple[float | None, float | None]
    title: str
    detail: str
    role: str


def forest(lines: Sequence[Line], caption: str, *, band: float, row: int = 100, whole: bool = False) -> Figure:
    """The lines from top to bottom. caption: of the axis; band: half its width; row: pixels a row on a telephone.

    whole: whether both ends of the band are in sight, however close to 0 the lines are.
    """
    rows = [(line, height) for line, height in zip(lines, range(len(lines), 0, -1), strict=True)]
    zero: dict[str, JsonValue] = {"zeroline": True, "zerolinecolor": "@axis", "zerolinewidth": 2}
    x_axis = axis(caption, **zero, **(_in_sight(lines, band) if whole else {}))
    narrow = layout(
        xaxis=x_axis,
        yaxis={"visible": False, "range": [0.6, len(lines) + 0.85], "fixedrange": True},
        shapes=[_band(-band, band)] if band else [],
        annotations=[_note(line, height, wide=False) for line, height in rows],
        showlegend=False,
        height=90 + row * len(lines),
        margin={"l": 12, "r": 12, "t": 8, "b": 48},
        hovermode="closest",
    )
    wide = _wide(x_axis, [_note(line, height, wide=True) for line, height in rows])
    return {"data": [_trace(line, height) for line, height in rows], "layout": narrow, "wide": wide}


def _in_sight(lines: Sequence[Line], band: float) -> dict[str, JsonValue]:
    ends = [end for line in lines for end in (line.value, *line.ends) if end is not None]
    low, high = min(-band, *ends), max(band, *ends)
    room = 0.06 * (high - low)
    return {"range": [low - room, high + room]}


def _wide(x_axis: dict[str, JsonValue], notes: list[JsonValue]) -> JsonValue:
    """What changes where there is room for the captions beside the intervals."""
    rows: JsonValue = {"visible": False, "range": [0.4, len(notes) + 0.6], "fixedrange": True}
    height = 90 + 66 * len(notes)
    return {"xaxis": {**x_axis, "domain": [0.42, 1]}, "yaxis": rows, "annotations": notes, "height": height}


def _trace(line: Line, height: int) -> JsonValue:
    low, high = (end if end is not None else line.value for end in line.ends)
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [line.value],
        "y": [height],
        "marker": {"color": line.role, "size": 13, "line": {"color": "@ground", "width": 2}},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - line.value],
            "arrayminus": [line.value - low],
            "color": line.role,
            "thickness": 3,
            "width": 7,
        },
        "hovertext": [f"{line.title}<br>{line.detail}"],
        "hoverinfo": "text",
    }


def _note(line: Line, height: int, *, wide: bool) -> JsonValue:
    """Beside its interval, or above it over the whole width where the page is as narrow as a telephone's."""
    text = f"{line.title}<br><span style='color:@muted'>{line.detail}</span>"
    above: dict[str, JsonValue] = {"y": height + 0.16, "yanchor": "bottom"}
    place: dict[str, JsonValue] = {"y": height, "yanchor": "middle"} if wide else above
    left: dict[str, JsonValue] = {"x": 0, "xref": "paper", "xanchor": "left", "align": "left"}
    veil: dict[str, JsonValue] = {} if wide else {"bgcolor": "@veil"}
    return {**left, **place, **veil, "text": text, "showarrow": False, "font": {"size": 12.5}}


def _band(low: float, high: float) -> JsonValue:
    ends: dict[str, JsonValue] = {"x0": low, "x1": high, "y0": 0, "y1": 1, "yref": "paper"}
    return {"type": "rect", **ends, "fillcolor": "@band", "line": {"width": 0}, "layer": "below"}
