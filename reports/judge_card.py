"""The card of one judge: card.html, a page like a run's report, and card.md."""

from __future__ import annotations

from collections.abc import Mapping

from harness.core.licences import JudgeCard
from reports import cards, judges
from reports.judge_charts import card_figures
from reports.judge_markdown import card_lines
from reports.page import csp_hash, environment, pack_json, plotly, policy, safe, template_text

_PLACE = "judge"


class HtmlCard:
    """Writes card.html and card.md."""

    def render(self, card: JudgeCard) -> Mapping[str, bytes]:
        """{"card.html": one self-contained page, "card.md": the same tables}. The same card gives the same bytes."""
        summary = "\n".join(card_lines(card)).rstrip() + "\n"
        return {"card.html": render_card(card), "card.md": summary.encode()}


card = HtmlCard()


def render_card(card: JudgeCard) -> bytes:
    """The page alone; without charts it carries no chart library."""
    charts = card_figures(card, _PLACE)
    packed, bundle_hash = plotly() if charts else ("", "")
    script = template_text("report.js")
    page = environment().get_template("judge_card.html.j2")
    return page.render(
        tables=cards.card_tables(card, _PLACE, tuple(charts)),
        grade_tones=judges.GRADE_TONES,
        passed_tones=judges.PASSED_TONES,
        policy=policy(*filter(None, (csp_hash(script), bundle_hash))),
        style=safe("report.css"),
        script=safe("report.js"),
        plotly=packed,
        data=pack_json({"arms": [], "rows": [], "charts": charts}),
    ).encode()
