"""The page's charts as plain Plotly figures: dicts of JSON values, built and tested without Plotly.

Colours are roles ("@good"), which the page's script replaces by what the reader's theme says.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from harness.core.records import Comparison, Estimate, RunResult
from reports.numbers import finite, interval, number, p_value
from reports.tables import CheckpointRow, checkpoint_rows, decimals_of, evaluations
from reports.text import one_line

Figure = dict[str, JsonValue]
_ROLES = {
    "better": "@good",
    "worse": "@bad",
    "no difference worth having": "@even",
    "cannot tell": "@unsure",
}


def label(text: str, limit: int = 48) -> str:
    """A name as a chart may show it: Plotly reads a small HTML of its own in every label."""
    return html.escape(one_line(text, limit), quote=False)


def figures(result: RunResult) -> dict[str, Figure]:
    """Every chart that this run has data for, by the id of its place on the page."""
    rows = checkpoint_rows(result)
    charts: dict[str, Figure] = {}
    if any(comparison.delta is not None for comparison in result.comparisons):
        charts["effect"] = effect(result)
    if any(row.score is not None and finite(row.score.value) is not None for row in rows):
        charts["score"] = score(result, rows)
    if rows:
        charts["loss"] = curves(result, rows, "loss")
        charts["accuracy"] = curves(result, rows, "accuracy")
    return charts


def effect(result: RunResult) -> Figure:
    """One row per comparison: the difference with its interval, against the band of effects not worth having."""
    decimals = decimals_of(result)
    lines = [line for comparison in result.comparisons for line in _effect_lines(comparison, decimals)]
    rows = [(line, height) for line, height in zip(lines, range(len(lines), 0, -1), strict=True)]
    smallest = max((comparison.smallest_effect for comparison in result.comparisons), default=0.0)
    zero: dict[str, JsonValue] = {"zeroline": True, "zerolinecolor": "@axis", "zerolinewidth": 2}
    axis = _axis("difference (right of 0: tuning is better)", **zero)
    layout = _layout(
        xaxis=axis,
        yaxis={"visible": False, "range": [0.6, len(lines) + 0.85], "fixedrange": True},
        shapes=[_band(-smallest, smallest)] if smallest else [],
        annotations=[_effect_note(line, height, wide=False) for line, height in rows],
        showlegend=False,
        height=90 + 100 * len(lines),
        margin={"l": 12, "r": 12, "t": 8, "b": 48},
        hovermode="closest",
    )
    wide = _wide(axis, [_effect_note(line, height, wide=True) for line, height in rows])
    return {"data": [_effect_trace(line, height) for line, height in rows], "layout": layout, "wide": wide}


def _wide(axis: dict[str, JsonValue], notes: list[JsonValue]) -> JsonValue:
    """What changes in the effect plot where there is room for the captions beside the intervals."""
    rows: JsonValue = {"visible": False, "range": [0.4, len(notes) + 0.6], "fixedrange": True}
    return {"xaxis": {**axis, "domain": [0.42, 1]}, "yaxis": rows, "annotations": notes, "height": 90 + 66 * len(notes)}


@dataclass(frozen=True, slots=True)
class _EffectLine:
    """A row of the effect plot; title and detail are in Plotly's HTML."""

    delta: float
    ends: tuple[float | None, float | None]
    title: str
    detail: str
    role: str


def _effect_lines(comparison: Comparison, decimals: dict[str, int]) -> list[_EffectLine]:
    delta = finite(comparison.delta)
    if delta is None:
        return []
    places = decimals.get(comparison.metric, 3)
    title = f"<b>{comparison.question}</b>: {label(comparison.candidate, 26)} against {label(comparison.baseline, 26)}"
    ends = (finite(comparison.low), finite(comparison.high))
    lines = [_EffectLine(delta, ends, title, _detail(comparison, places), _ROLES[comparison.answer])]
    clean = comparison.without_leaked or {}
    rest, low, high = (_figure(clean.get(name)) for name in ("delta", "low", "high"))
    if rest is not None:
        ends = (low, high)
        detail = f"{number(rest, places, signed=True)} {interval(*ends, places, signed=True)}"
        lines.append(_EffectLine(rest, ends, "the same without leaked rows", detail, "@even"))
    return lines


def _figure(value: float | int | str | None) -> float | None:
    return None if isinstance(value, str) else finite(value)


def _detail(comparison: Comparison, places: int) -> str:
    delta = number(comparison.delta, places, signed=True)
    ends = interval(comparison.low, comparison.high, places, signed=True)
    counts = f"{comparison.wins} wins, {comparison.ties} ties, {comparison.losses} losses"
    return html.escape(f"{delta} {ends} · {p_value(comparison.p)}", quote=False) + f"<br>{counts}"


def _effect_trace(line: _EffectLine, height: int) -> JsonValue:
    low, high = (end if end is not None else line.delta for end in line.ends)
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [line.delta],
        "y": [height],
        "marker": {"color": line.role, "size": 13, "line": {"color": "@ground", "width": 2}},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - line.delta],
            "arrayminus": [line.delta - low],
            "color": line.role,
            "thickness": 3,
            "width": 7,
        },
        "hovertext": [f"{line.title}<br>{line.detail}"],
        "hoverinfo": "text",
    }


def _effect_note(line: _EffectLine, height: int, *, wide: bool) -> JsonValue:
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


def score(result: RunResult, rows: Sequence[CheckpointRow]) -> Figure:
    """The validation score of every checkpoint with its 95 % band, the untuned arm to beat and the one chosen."""
    scored = [(row.step, row.score) for row in rows if row.score is not None and finite(row.score.value) is not None]
    steps = [step for step, _ in scored]
    estimates = [estimate for _, estimate in scored]
    name = label(result.selection.metric)
    data: list[JsonValue] = [
        _edge(steps, [finite(estimate.high) for estimate in estimates]),
        {**_edge(steps, [finite(estimate.low) for estimate in estimates]), "fill": "tonexty", "fillcolor": "@interval"},
        _line(steps, [finite(estimate.value) for estimate in estimates], name, "@tuned"),
    ]
    if len(scored) == 1:
        data = [{**_line(steps, [finite(estimates[0].value)], name, "@tuned"), "error_y": _error(estimates[0])}]
    shapes, notes = _chosen(result, rows)
    untuned = _untuned(result)
    if untuned is not None:
        shapes.append(_level(untuned))
        notes.append(_level_note(untuned, label(result.selection.best_untuned or "")))
    return {"data": data, "layout": _curve_layout(f"{name} on validation, by step", shapes, notes, legend=False)}


def curves(result: RunResult, rows: Sequence[CheckpointRow], kind: str) -> Figure:
    """Loss or next-token accuracy of training and validation at every checkpoint."""
    pairs = [row.losses if kind == "loss" else row.accuracies for row in rows]
    steps = [row.step for row in rows]
    train = {**_line(steps, [pair[0] for pair in pairs], "training", "@untuned"), "line": _stroke("@untuned", "dot")}
    data: list[JsonValue] = [train, _line(steps, [pair[1] for pair in pairs], "validation", "@tuned")]
    shapes, notes = _chosen(result, rows)
    title = "loss per completion token, by step" if kind == "loss" else "next-token accuracy, by step"
    return {"data": data, "layout": _curve_layout(title, shapes, notes, legend=True)}


def _line(steps: Sequence[int], values: Sequence[float | None], name: str, role: str) -> dict[str, JsonValue]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": list(steps),
        "y": list(values),
        "line": _stroke(role),
        "marker": {"size": 7, "color": role},
        "hovertemplate": "%{y:.4~f}",
    }


def _stroke(role: str, dash: str = "solid") -> dict[str, JsonValue]:
    return {"color": role, "width": 2.5, "dash": dash}


def _edge(steps: Sequence[int], values: Sequence[float | None]) -> dict[str, JsonValue]:
    quiet: dict[str, JsonValue] = {"hoverinfo": "skip", "showlegend": False, "line": {"width": 0, "color": "@interval"}}
    return {"type": "scatter", "mode": "lines", "x": list(steps), "y": list(values), **quiet}


def _error(estimate: Estimate) -> JsonValue:
    value = finite(estimate.value) or 0.0
    low, high = (value if finite(end) is None else end for end in (estimate.low, estimate.high))
    ends: dict[str, JsonValue] = {"array": [(high or 0.0) - value], "arrayminus": [value - (low or 0.0)]}
    return {"type": "data", "symmetric": False, **ends, "color": "@tuned", "thickness": 2}


def _chosen(result: RunResult, rows: Sequence[CheckpointRow]) -> tuple[list[JsonValue], list[JsonValue]]:
    """A vertical line through the chosen checkpoint, and its caption."""
    step = result.selection.chosen_step
    if step is None or all(row.step != step for row in rows):
        return [], []
    ends: dict[str, JsonValue] = {"x0": step, "x1": step, "y0": 0, "y1": 1, "yref": "paper"}
    line: JsonValue = {"type": "line", **ends, "line": {"color": "@chosen", "width": 2, "dash": "dash"}}
    last = step > (rows[0].step + rows[-1].step) / 2
    place: dict[str, JsonValue] = {"x": step, "y": 1, "yref": "paper", "yanchor": "bottom"}
    anchor = "center" if len(rows) == 1 else "right" if last else "left"
    note: JsonValue = {**place, "xanchor": anchor, "text": "chosen", "showarrow": False, "font": {"color": "@chosen"}}
    return [line], [note]


def _untuned(result: RunResult) -> float | None:
    """Validation score of the untuned arm to beat."""
    name = result.selection.best_untuned
    if name is None:
        return None
    if name in result.selection.scores:
        return finite(result.selection.scores[name].value)
    records = (record for record in evaluations(result, "validation") if record.arm == name)
    found = (each for record in records for each in record.estimates if each.metric == result.selection.metric)
    return next((finite(estimate.value) for estimate in found), None)


def _level(value: float) -> JsonValue:
    ends: dict[str, JsonValue] = {"x0": 0, "x1": 1, "xref": "paper", "y0": value, "y1": value}
    return {"type": "line", **ends, "line": {"color": "@untuned", "width": 1.5, "dash": "dot"}}


def _level_note(value: float, name: str) -> JsonValue:
    place: dict[str, JsonValue] = {"x": 1, "xref": "paper", "xanchor": "right", "y": value, "yanchor": "bottom"}
    return {**place, "text": name, "showarrow": False, "font": {"color": "@untuned", "size": 11}}


def _curve_layout(title: str, shapes: list[JsonValue], notes: list[JsonValue], *, legend: bool) -> JsonValue:
    return _layout(
        title={"text": title, "font": {"size": 14}, "x": 0, "xref": "paper", "xanchor": "left", "y": 0.97},
        xaxis={**_axis(""), "tickformat": "d"},
        yaxis={**_axis(""), "nticks": 6},
        shapes=shapes,
        annotations=notes,
        showlegend=legend,
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": -0.12, "yanchor": "top"},
        height=300,
        margin={"l": 52, "r": 12, "t": 58, "b": 56},
        hovermode="x unified",
    )


def _axis(title: str, **more: JsonValue) -> dict[str, JsonValue]:
    look: dict[str, JsonValue] = {"gridcolor": "@grid", "linecolor": "@grid", "zeroline": False, "fixedrange": True}
    return {"title": {"text": title, "font": {"size": 12}}, **look, "automargin": True, **more}


def _layout(**parts: JsonValue) -> dict[str, JsonValue]:
    """What all charts share: a clear ground, the page's type, the theme's ink."""
    ground: dict[str, JsonValue] = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}
    hover: JsonValue = {"bgcolor": "@ground", "bordercolor": "@grid", "font": {"color": "@ink"}, "align": "left"}
    font: JsonValue = {"family": "system-ui, sans-serif", "size": 12.5, "color": "@ink"}
    return {**ground, "font": font, "hoverlabel": hover, "dragmode": False, **parts}
