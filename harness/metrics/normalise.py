"""Named ways to make texts equal that differ in what does not matter."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Collection
from typing import Literal

Normaliser = Literal["unicode", "case", "punctuation", "articles", "whitespace"]

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.IGNORECASE)
_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)


def unicode(text: str) -> str:
    """Unicode's compatibility composition (NFKC): full-width letters and digits, ligatures, composed accents."""
    return unicodedata.normalize("NFKC", text)


def case(text: str) -> str:
    """Lower case."""
    return text.lower()


def punctuation(text: str) -> str:
    """Without ASCII punctuation and symbols, and without what Unicode calls punctuation in any script."""
    return "".join(c for c in ascii_punctuation(text) if not unicodedata.category(c).startswith("P"))


def ascii_punctuation(text: str) -> str:
    """Without the 32 characters of `string.punctuation`, as SQuAD does it."""
    return text.translate(_ASCII_PUNCTUATION)


def articles(text: str) -> str:
    """English articles become a space, as SQuAD does it."""
    return _ARTICLES.sub(" ", text)


def whitespace(text: str) -> str:
    """Runs of white space become one space, none at the ends."""
    return " ".join(text.split())


# In this order whatever order they are named in: articles are found after punctuation went, spaces mended last.
_IN_ORDER: dict[Normaliser, Callable[[str], str]] = {
    "unicode": unicode,
    "case": case,
    "punctuation": punctuation,
    "articles": articles,
    "whitespace": whitespace,
}


def normalise(text: str, names: Collection[Normaliser]) -> str:
    """`text` after the named normalisers, repeated until nothing changes, and without white space at the ends.

    One pass is not idempotent: removing a full stop between a letter and its accent lets them compose.

    >>> normalise(" The  Café. ", ["case", "articles", "punctuation"])
    'café'
    """
    chosen = [function for name, function in _IN_ORDER.items() if name in names]
    while True:
        after = text
        for function in chosen:
            after = function(after)
        after = after.strip()
        if after == text:
            return text
        text = after


def signature_of(names: Collection[Normaliser]) -> str:
    """How a signature spells a choice of normalisers."""
    return "+".join(name for name in _IN_ORDER if name in names) or "strip"
