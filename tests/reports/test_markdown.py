"""summary.md holds the conclusion, the tables and the caveats."""

import pytest

from reports.markdown import reporter
from reports.markdown_parts import escape
from tests.reports.view import empty, view


def summary() -> str:
    return reporter.render(view())["summary.md"].decode()


def test_summary_holds_what_a_reader_of_a_pull_request_needs():
    text = summary()
    assert text.startswith("# e2e_nlg: better\n")
    assert "| tuned | 200 | 0 | 0.531 [0.501, 0.561] |" in text
    assert "| +0.123 | [+0.092, +0.153] | p &lt; 0.0001 | 121 / 38 / 39 | better |" in text
    assert "- 29 of 200 test samples are also in training" in text
    assert "| 150 | 0.784 | 1.438 | 0.531 | chosen, within one standard error |" in text


def test_smallest_run_still_gives_a_summary():
    assert "**Nothing can be said.**" in reporter.render(empty())["summary.md"].decode()


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("a|b", "a\\|b"),
        ("<b>", "&lt;b&gt;"),
        ("`x`", "\\`x\\`"),
        ("# no", "\\# no"),
        ("1. no", "1\\. no"),
        ("- no", "\\- no"),
        ("macro_f1", "macro_f1"),
        ("_no_", "\\_no\\_"),
        ("two\nlines", "two lines"),
    ],
)
def test_text_is_not_markup(raw: str, safe: str):
    assert escape(raw) == safe
