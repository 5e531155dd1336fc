"""report.html: the whole run on one page that opens offline and can run nothing but its own two scripts.

What models wrote reaches the page in two ways only: through Jinja's autoescape, and as JSON that the script puts
into the document as text. The Content-Security-Policy names both scripts by hash and allows no connection.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

from harness.core.protocols import RunView
from reports import charts, samples, tables, text
from reports.page import environment, policy, safe, template_text

# Samples that stand in the page itself, for readers without scripts and for paper.
PRINTED_SAMPLES = 20
_MOST_SLICES = 200
_MOST_PARTS = 300
# Of no use to a reader elsewhere, and not theirs to know; origins stand beside the settings.
_NOT_SHARED = frozenset({"host", "argv", "origins"})


class HtmlReporter:
    """Writes report.html."""

    def render(self, view: RunView) -> Mapping[str, bytes]:
        """{"report.html": one self-contained page}. The same view gives the same bytes."""
        bundle = _plotly()
        return {"report.html": page(view, bundle).encode()}


reporter = HtmlReporter()


def page(view: RunView, bundle: tuple[str, str]) -> str:
    """The page as text. bundle: the chart library packed, and the hash its script is allowed by."""
    packed, bundle_hash = bundle
    script = template_text("report.js")
    viewer = samples.viewer(view)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            view=view,
            result=view.result,
            policy=policy(csp_hash(script), bundle_hash),
            style=safe("report.css"),
            script=safe("report.js"),
            plotly=packed,
            data=pack(json.dumps(_payload(view, viewer), ensure_ascii=False, separators=(",", ":")).encode()),
            viewer=viewer,
            printed=_printed(view, viewer),
            most_slices=_MOST_SLICES,
            most_parts=_MOST_PARTS,
            **_rows(view),
        )
    )


def csp_hash(script: str) -> str:
    """A script's name in a Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def pack(data: bytes) -> str:
    """gzip and base64: no character of it means anything to an HTML parser."""
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


@lru_cache(maxsize=1)
def _plotly() -> tuple[str, str]:
    """Plotly's own script, packed, and its hash."""
    script = resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text("utf-8")
    return pack(script.encode()), csp_hash(script)


def _rows(view: RunView) -> dict[str, object]:
    """The tables of the page."""
    result = view.result
    decimals = tables.decimals_of(result)
    return {
        "test_rows": tables.arm_rows(result, "test"),
        "validation_rows": tables.arm_rows(result, "validation"),
        "checkpoint_rows": tables.checkpoint_rows(result),
        "baseline": tables.baseline_arm(result),
        "decimals": decimals,
        "primary_decimals": decimals.get(result.primary, 3),
        "slices": tables.slice_names(result),
        "slice_rows": tables.slice_rows(result),
        "part_tables": tables.part_tables(result),
        "charted": charts.figures(result).keys(),
        "signatures": tables.signatures(result),
        "left_over": tables.left_over(view.data),
        "settings": tables.settings(view.spec, view.origins),
        "identity": list(tables.flatten(result.identity)) if result.identity else [],
        "environment": _shared(view),
        "total_s": sum(duration for _, duration in view.timings),
    }


def _shared(view: RunView) -> list[tuple[str, str]]:
    """The environment as a page that is passed on may tell it."""
    kept = {key: value for key, value in view.environment.items() if key not in _NOT_SHARED}
    return list(tables.flatten(kept)) if kept else []


def _payload(view: RunView, viewer: samples.Viewer) -> dict[str, object]:
    result = view.result
    return {
        **samples.payload(viewer),
        "metrics": [text.one_line(metric) for metric in result.metrics],
        "primary": _primary(view),
        "higher": result.higher_is_better.get(result.primary, True),
        "decimals": tables.decimals_of(result).get(result.primary, 3),
        "charts": charts.figures(result),
    }


def _primary(view: RunView) -> int | None:
    metrics = view.result.metrics
    return metrics.index(view.result.primary) if view.result.primary in metrics else None


def _printed(view: RunView, viewer: samples.Viewer) -> list[samples.Shown]:
    higher = view.result.higher_is_better.get(view.result.primary, True)
    return samples.laid_out(viewer, _primary(view), higher, PRINTED_SAMPLES)
