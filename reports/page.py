"""What every HTML page here is made with: its templates, escaping, and the policy that lets nothing else in."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING

from reports import numbers, text

if TYPE_CHECKING:
    from jinja2 import Environment


def policy(*hashes: str) -> str:
    """The Content-Security-Policy: nothing is loaded from anywhere, only the scripts named by hash run.

    Styles are allowed inline because Plotly adds three style elements of its own.
    """
    rules = (
        "default-src 'none'",
        f"script-src {' '.join(hashes)}",
        "style-src 'unsafe-inline'",
        "img-src data: blob:",
        "connect-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(rules)


def environment() -> Environment:
    """Autoescape everywhere, and every value written with its invisible characters visible."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: object) -> object:
        return text.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    made = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=FunctionLoader(template_text),
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (numbers.number, numbers.p_value, numbers.percent, numbers.seconds):
        made.filters[function.__name__] = function
    made.filters["shown"] = text.shown
    made.filters["one_line"] = text.one_line
    return made


def csp_hash(script: str) -> str:
    """A script's name in a Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def pack(data: bytes) -> str:
    """gzip and base64: no character of it means anything to an HTML parser."""
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


def pack_json(value: object) -> str:
    """A value as compact JSON, packed, for the page's script."""
    return pack(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


@lru_cache(maxsize=1)
def plotly() -> tuple[str, str]:
    """Plotly's own script, packed, and its hash."""
    script = resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text("utf-8")
    return pack(script.encode()), csp_hash(script)


def template_text(name: str) -> str:
    """One of our own files as text."""
    return resources.files("reports").joinpath("templates", name).read_text("utf-8")


def safe(name: str) -> str:
    """One of our own files, to stand in the page as it is."""
    from markupsafe import Markup

    return Markup(template_text(name))  # noqa: S704 - no value of a run is in it
