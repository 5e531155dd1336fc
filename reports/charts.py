"""The charts of a run: the effect on test, the curves of training. See plot.py for what a figure is."""

from __future__ import annotations

import html
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from pydantic import JsonValue

from harness.core.records import Comparison, Estimate, RunResult
from reports.forest import Line, forest
from reports.numbers import finite, interval, number, p_value
from reports.plot import ANSWER_ROLES, Figure, axis, label, layout, title
from reports.tables import CheckpointRow, checkpoint_rows, decimals_of, evaluations

_NOTHING: frozenset[str] = frozenset()


def figures(result: RunResult, unproven: AbstractSet[str] = _NOTHING) -> dict[str, Figure]:
    """Every chart that this run has data for, by the id of its place on the page.

    unproven: metrics whose numbers are shown in grey and called uncalibrated.
    """
    rows = checkpoint_rows(result)
    charts: dict[str, Figure] = {}
    if any(comparison.delta is not None for comparison in result.comparisons):
        charts["effect"] = effect(result, unproven)
    if any(row.score is not None and finite(row.score.value) is not None for row in rows):
        charts["score"] = score(result, rows, unproven)
    if rows:
        charts["loss"] = curves(result, rows, "loss")
        charts["accuracy"] = curves(result, rows, "accuracy")
    return charts


def effect(result: RunResult, unproven: AbstractSet[str] = _NOTHING) -> Figure:
    """One row per comparison: the difference with its interval, against the band of effects not worth having."""
    decimals = decimals_of(result)
    lines = [line for comparison in result.comparisons for line in _effect_lines(comparison, decimals, unproven)]
    smallest = max((comparison.smallest_effect for comparison in result.comparisons), default=0.0)
    return forest(lines, "difference (right of 0: tuning is better)", band=smallest)


def _effect_lines(comparison: Comparison, decimals: dict[str, int], unproven: AbstractSet[str]) -> list[Line]:
    delta = finite(comparison.delta)
    if delta is None:
        return []
    places = decimals.get(comparison.metric, 3)
    doubted = comparison.metric in unproven
    sides = f"{label(comparison.candidate, 26)} against {label(comparison.baseline, 26)}"
    heading = f"<b>{comparison.question}</b>: {sides}{', uncalibrated' if doubted else ''}"
    ends = (finite(comparison.low), finite(comparison.high))
    role = "@muted" if doubted else ANSWER_ROLES[comparison.answer]
    lines = [Line(delta, ends, heading, _detail(comparison, places), role)]
    clean = comparison.without_leaked or {}
    rest, low, high = (_figure(clean.get(name)) for name in ("delta", "low", "high"))
    if rest is not None:
        ends = (low, high)
        detail = f"{number(rest, places, signed=True)} {interval(*ends, places, signed=True)}"
        lines.append(Line(rest, ends, "the same without leaked rows", detail, "@muted" if doubted else "@even"))
    return lines


def _figure(value: float | int | str | None) -> float | None:
    return None if isinstance(value, str) else finite(value)


def _detail(comparison: Comparison, places: int) -> str:
    delta = number(comparison.delta, places, signed=True)
    ends = interval(comparison.low, comparison.high, places, signed=True)
    counts = f"{comparison.wins} wins, {comparison.ties} ties, {comparison.losses} losses"
    return html.escape(f"{delta} {ends} · {p_value(comparison.p)}", quote=False) + f"<br>{counts}"


def score(result: RunResult, rows: Sequence[CheckpointRow], unproven: AbstractSet[str] = _NOTHING) -> Figure:
    """The validation score of every checkpoint with its 95 % band, the untuned arm to beat and the one chosen."""
    scored = [(row.step, row.score) for row in rows if row.score is not None and finite(row.score.value) is not None]
    steps = [step for step, _ in scored]
    estimates = [estimate for _, estimate in scored]
    doubted = result.selection.metric in unproven
    name = label(result.selection.metric) + (", uncalibrated," if doubted else "")
    role, fill = ("@muted", "@band") if doubted else ("@tuned", "@interval")
    data: list[JsonValue] = [
        _edge(steps, [finite(estimate.high) for estimate in estimates]),
        {**_edge(steps, [finite(estimate.low) for estimate in estimates]), "fill": "tonexty", "fillcolor": fill},
        _line(steps, [finite(estimate.value) for estimate in estimates], name, role),
    ]
    if len(scored) == 1:
        data = [{**_line(steps, [finite(estimates[0].value)], name, role), "error_y": _error(estimates[0])}]
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
    caption = "loss per completion token, by step" if kind == "loss" else "next-token accuracy, by step"
    return {"data": data, "layout": _curve_layout(caption, shapes, notes, legend=True)}


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


def _curve_layout(caption: str, shapes: list[JsonValue], notes: list[JsonValue], *, legend: bool) -> JsonValue:
    return layout(
        title=title(caption),
        xaxis={**axis(""), "tickformat": "d"},
        yaxis={**axis(""), "nticks": 6},
        shapes=shapes,
        annotations=notes,
        showlegend=legend,
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": -0.12, "yanchor": "top"},
        height=300,
        margin={"l": 52, "r": 12, "t": 58, "b": 56},
        hovermode="x unified",
    )
