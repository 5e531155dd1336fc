"""What all charts share: plain Plotly figures as dicts of JSON values, built and tested without Plotly.

Colours are roles ("@good"), which the page's script replaces by what the reader's theme says.
"""

from __future__ import annotations

import html
from collections.abc import Mapping

from pydantic import JsonValue

from reports.text import one_line

Figure = dict[str, JsonValue]
# What an answer or the outcome of a test is painted in.
ANSWER_ROLES: Mapping[str, str] = {
    "better": "@good",
    "worse": "@bad",
    "no difference worth having": "@even",
    "cannot tell": "@unsure",
}


def label(text: str, limit: int = 48) -> str:
    """A name as a chart may show it: Plotly reads a small HTML of its own in every label."""
    return html.escape(one_line(text, limit), quote=False)


def axis(title: str, **more: JsonValue) -> dict[str, JsonValue]:
    """An axis with a quiet grid that nobody can drag."""
    look: dict[str, JsonValue] = {"gridcolor": "@grid", "linecolor": "@grid", "zeroline": False, "fixedrange": True}
    return {"title": {"text": title, "font": {"size": 12}}, **look, "automargin": True, **more}


def layout(**parts: JsonValue) -> dict[str, JsonValue]:
    """A clear ground, the page's type, the theme's ink."""
    ground: dict[str, JsonValue] = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}
    hover: JsonValue = {"bgcolor": "@ground", "bordercolor": "@grid", "font": {"color": "@ink"}, "align": "left"}
    font: JsonValue = {"family": "system-ui, sans-serif", "size": 12.5, "color": "@ink"}
    return {**ground, "font": font, "hoverlabel": hover, "dragmode": False, **parts}


def title(text: str) -> JsonValue:
    """A chart's title, at its left."""
    return {"text": text, "font": {"size": 14}, "x": 0, "xref": "paper", "xanchor": "left", "y": 0.97}
