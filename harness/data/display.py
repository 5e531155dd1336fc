"""Text from outside, made safe to show: in a terminal, a log line or a report."""

from __future__ import annotations

import unicodedata

# Control, format (bidi, zero width, tags), surrogate, private, unassigned; line and paragraph separators.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def escape(text: str, limit: int = 80) -> str:
    """`text` on one line, every character that could hide or act written as an escape, at most `limit` long.

    >>> escape("red \\x1b[31m and\\nback")
    'red \\\\x1b[31m and\\\\nback'
    """
    shown: list[str] = []
    length = 0
    for character in text:
        piece = _escape_character(character)
        length += len(piece)
        if length > limit:
            return _shorten("".join(shown), limit)
        shown.append(piece)
    return "".join(shown)


def quote(text: str, limit: int = 80) -> str:
    """`text` escaped and in quotes, for messages."""
    return f"'{escape(text, limit)}'"


def _shorten(shown: str, limit: int) -> str:
    return shown[: limit - 3] + "..."


def _escape_character(character: str) -> str:
    if character.isascii() and character.isprintable():
        return character
    if unicodedata.category(character) not in _UNSAFE:
        return character
    return ascii(character)[1:-1]
