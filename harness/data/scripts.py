"""Scripts that are written without spaces between words: there a character, with its marks, stands for a word."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regex import Pattern

_SCRIPTS = ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan")
# A set of characters for `regex`. The two long-vowel marks belong to no single script, but are of Japanese only.
UNSPACED = "[" + "".join(rf"\p{{Script={name}}}" for name in _SCRIPTS) + "ーｰ]"


@cache
def unspaced() -> Pattern[str]:
    """One character of an unspaced script, with the marks that belong to it."""
    import regex

    return regex.compile(rf"{UNSPACED}\p{{M}}*", regex.V1)


def spaced(text: str) -> str:
    """`text` with a space on both sides of every character of an unspaced script; other text is not changed.

    >>> spaced("狗 and 猫咪").split()
    ['狗', 'and', '猫', '咪']
    """
    return text if text.isascii() else unspaced().sub(r" \g<0> ", text)
