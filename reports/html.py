"""report.html: the whole run on one page that opens offline and can run nothing but its own two scripts.

What models wrote reaches the page in two ways only: through Jinja's autoescape, and as JSON that the script puts
into the document as text. The Content-Security-Policy names both scripts by hash and allows no connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from harness.core.licences import JudgeCard
from harness.core.protocols import RunView
from reports import cards, charts, judges, samples, tables, text
from reports.judge_charts import card_figures
from reports.page import csp_hash, environment, pack_json, plotly, policy, safe, template_text
from reports.plot import Figure

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
        return {"report.html": page(view, plotly()).encode()}


reporter = HtmlReporter()


def page(view: RunView, bundle: tuple[str, str]) -> str:
    """The page as text. bundle: the chart library packed, and the hash its script is allowed by."""
    packed, bundle_hash = bundle
    script = template_text("report.js")
    viewer = samples.viewer(view)
    figures = _figures(view)
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
            data=pack_json(_payload(view, viewer, figures)),
            viewer=viewer,
            printed=_printed(view, viewer),
            most_slices=_MOST_SLICES,
            most_parts=_MOST_PARTS,
            charted=figures.keys(),
            **_rows(view),
            **_judging(view, tuple(figures)),
        )
    )


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
        "signatures": tables.signatures(result),
        "left_over": tables.left_over(view.data),
        "settings": tables.settings(view.spec, view.origins),
        "identity": list(tables.flatten(result.identity)) if result.identity else [],
        "environment": _shared(view),
        "total_s": sum(duration for _, duration in view.timings),
    }


def _judging(view: RunView, charted: Sequence[str]) -> dict[str, object]:
    """What people and judges said: the badge, the standing of every judge's metric, the cards."""
    validation = view.validation
    return {
        "badge": judges.badge(view),
        "headline": judges.headline(view.result, validation),
        "standings": judges.standings(view),
        "unproven": judges.unproven(view),
        "choice": judges.choice(view.result.selection),
        "cards": [_card(card, _place(at), charted) for at, card in enumerate(view.judges)],
        "said": () if validation is None else judges.estimates(validation),
        "warnings": () if validation is None else judges.warnings(validation),
        "on_validation": judges.on_validation(view),
        "targets": judges.TARGETS,
        "grade_tones": judges.GRADE_TONES,
        "passed_tones": judges.PASSED_TONES,
    }


def _place(at: int) -> str:
    """What the ids of a card's charts begin with."""
    return f"judge-{at + 1}"


def _card(card: JudgeCard, place: str, charted: Sequence[str]) -> cards.CardTables:
    return cards.card_tables(card, place, [name for name in charted if name.startswith(f"{place}-")])


def _figures(view: RunView) -> dict[str, Figure]:
    """Every chart of the page, by the id of its place."""
    figures = charts.figures(view.result, judges.unproven(view))
    for at, card in enumerate(view.judges):
        figures.update(card_figures(card, _place(at)))
    return figures


def _shared(view: RunView) -> list[tuple[str, str]]:
    """The environment as a page that is passed on may tell it."""
    kept = {key: value for key, value in view.environment.items() if key not in _NOT_SHARED}
    return list(tables.flatten(kept)) if kept else []


def _payload(view: RunView, viewer: samples.Viewer, figures: Mapping[str, Figure]) -> dict[str, object]:
    result = view.result
    return {
        **samples.payload(viewer),
        "metrics": [_named(metric, judges.unproven(view)) for metric in result.metrics],
        "primary": _primary(view),
        "higher": result.higher_is_better.get(result.primary, True),
        "decimals": tables.decimals_of(result).get(result.primary, 3),
        "charts": figures,
    }


def _named(metric: str, unproven: AbstractSet[str]) -> str:
    """A metric's name; a judge that has no licence is never named without saying so."""
    return text.one_line(metric) + (f" ({judges.UNPROVEN})" if metric in unproven else "")


def _primary(view: RunView) -> int | None:
    metrics = view.result.metrics
    return metrics.index(view.result.primary) if view.result.primary in metrics else None


def _printed(view: RunView, viewer: samples.Viewer) -> list[samples.Shown]:
    higher = view.result.higher_is_better.get(view.result.primary, True)
    return samples.laid_out(viewer, _primary(view), higher, PRINTED_SAMPLES)
