"""Folding: when do two texts count as the same question?"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata

_APOSTROPHES = re.compile("['\u2019\u02bc]")
# Symbols (category S: + < = £ ...) stay: "2+2" and "2-2" are different questions.
_ASCII_PUNCTUATION = '!"#%&()*,-./:;?@[\\]_{}'


def fold(text: str) -> str:
    """The text without what people do not read: case, width, punctuation and the amount of blank space.

    NFKC, then case folding; apostrophes go, other punctuation (Unicode category P) becomes a space unless it
    stands between two digits or is the sign of a number, because "14:30", "1.5" and "-5" mean something.
    A text of nothing but punctuation keeps it: "?!" and "..." are not the same text.

    >>> fold("  Don’t  PANIC, it's 14:30!")
    'dont panic its 14:30'
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    words = _punctuation(plain.isascii()).sub(" ", _APOSTROPHES.sub("", plain)).split()
    return " ".join(words or plain.split())


@functools.cache
def _punctuation(ascii_only: bool) -> re.Pattern[str]:
    """Punctuation that separates words. Built on first use: scanning all of Unicode takes a third of a second."""
    characters = _ASCII_PUNCTUATION if ascii_only else "".join(_unicode_punctuation())
    any_of = f"[{re.escape(characters)}]"
    return re.compile(rf"(?<!\d)(?!(?<!\S)-\d){any_of}|{any_of}(?!\d)")


def _unicode_punctuation() -> list[str]:
    return [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)).startswith("P")]
