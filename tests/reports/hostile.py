"""Two hundred strings that want to become markup, and a way to put them into every string of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeVar

from tests.reports.view import View

_ATTACKS = (
    "<script>document.title='owned'</script>",
    "</script><script>document.title='owned'</script>",
    "<!--<script>",
    "<!--<script></script>",
    "<img src=x onerror=document.title='owned'>",
    "<svg onload=document.title='owned'>",
    "<svg><script>document.title='owned'</script></svg>",
    "<iframe srcdoc='<script>parent.document.title=1</script>'>",
    "<a href=javascript:document.title='owned'>click</a>",
    "<base href=https://evil.invalid/>",
    "<meta http-equiv=refresh content=0;url=https://evil.invalid>",
    "<link rel=stylesheet href=https://evil.invalid/x.css>",
    "<style>*{display:none}</style>",
    "</style><p>out",
    "</title><p>out",
    "</textarea><p>out",
    "</table><p>out",
    "</template><p>out",
    "<form action=https://evil.invalid><input name=x autofocus onfocus=document.title='owned'>",
    "<details open ontoggle=document.title='owned'>",
    "<math><mtext><table><mglyph><style><img src onerror=document.title='owned'>",
    "<noscript><p title='</noscript><img src=x onerror=document.title=1>'>",
    "<plaintext>",
    "<![CDATA[<b>]]>",
    "&lt;script&gt;document.title='owned'&lt;/script&gt;",
    "&#60;img src=x&#62;",
    "javascript:document.title='owned'",
    "{{ 7 * 7 }}{% raw %}{{ config }}",
    "${7*7}%{y}%{customdata}<extra></extra>",
    "<b>bold</b><br><sup>up</sup><a href='https://evil.invalid'>link</a>",
    "a\u2028b\u2029c\x85d",
    "\u202eetihw\u2066\u2069\u200f\u061c\ufeff",
    "\x1b[2J\x1b]0;title\x07\x1b[31mred\x9b31m",
    "nul \x00 and \x08\x7f and lone \ud800 surrogates \udfff\ufffe",
    "\U000e0041\U000e0042 tags",
    "| a | b |\n| --- | --- |\n# heading\n- list\n> quote\n```\ncode",
    "![i](https://evil.invalid/x.png)[l](javascript:1)<https://evil.invalid>",
    "@role @good color:@muted",
    "long " + "x" * 500,
    "‮‭ Ω≈ç√ 日本語 العربية עברית 👩‍👩‍👧 e\u0301",
)
_BEFORE = ("", '"', "'>", "--><", "]]>\\")
CORPUS = tuple(before + attack for before in _BEFORE for attack in _ATTACKS)

# Values of Literal fields: no other string is possible there.
_LITERALS = frozenset(
    (
        *("train", "validation", "test", "fatal", "warning", "note", "better", "worse"),
        *("same prompt", "best untuned", "no difference worth having", "cannot tell"),
        *("drive", "shortlist", "advisory", "uncalibrated", "pass", "fail", "inconclusive", "not run"),
        *("G0", "G1", "G2", "G3", "G4", "likert", "pass_fail", "pair", "population", "test set"),
    )
)

# A metric's name says by this that a judge is behind it.
_JUDGE = "judge:"

Value = TypeVar("Value")


def mapped(value: Value, change: Callable[[str], str]) -> Value:
    """The same value with every string in it changed, mapping keys too; new fields are found by themselves."""
    return _mapped(value, change)  # type: ignore[return-value]


def _mapped(value: object, change: Callable[[str], str]) -> object:
    if isinstance(value, str):
        if value.startswith(_JUDGE):
            return _JUDGE + change(value.removeprefix(_JUDGE))
        return value if value in _LITERALS else change(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: _mapped(getattr(value, each.name), change) for each in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    if isinstance(value, Mapping):
        return {_mapped(key, change): _mapped(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(item, change) for item in value)
    return value


class Renamed:
    """One string to one string, so that names still refer to each other; payloads go round in turn."""

    def __init__(self, payloads: tuple[str, ...], width: int = 1, start: int = 0) -> None:
        self.payloads, self.width, self.next = payloads, width, start
        self.known: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        if text not in self.known:
            chosen = [self.payloads[(self.next + offset) % len(self.payloads)] for offset in range(self.width)]
            self.next += self.width
            self.known[text] = f"{' '.join(chosen)} {len(self.known)}"
        return self.known[text]


def hostile(view: View, *, width: int = 20, start: int = 0) -> View:
    """The run with `width` attacks in each of its strings, beginning with number `start` of the corpus."""
    return mapped(view, Renamed(CORPUS[start:] + CORPUS[:start], width))


def benign(view: View) -> View:
    """The run with a plain word in each of its strings."""
    return mapped(view, Renamed(("word",)))
