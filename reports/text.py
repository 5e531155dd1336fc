"""Text that models wrote, made safe to look at: no invisible characters, no endless lines, differences found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

# Shown per text. The whole text is in results.parquet.
SHOWN_CHARACTERS = 4_000
# Longer texts are shown without marks: the comparison is quadratic and nobody reads 800 marked words.
COMPARED_WORDS = 800

Piece = tuple[str, bool]

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad"  # C0 (tab and line feed stay), DEL, C1, soft hyphen
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # bidi, zero width, separators
    "\U000e0000-\U000e007f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"  # tags, lone surrogates, noncharacters
)
# Kana and Han have no blanks between words, so each character is compared by itself; accents, vowel signs and joiners
# belong to the letter before them.
_ALONE = r"\u3040-\u30ff\u3400-\u9fff"
_MARKS = r"\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0dff\u200c\u200d"
_WORD = re.compile(rf"\s+|[{_ALONE}]|(?:(?![{_ALONE}])[\w{_MARKS}])+|[^\w\s]")


def visible(text: str) -> str:
    r"""Control, bidi, zero-width and unencodable characters as escapes; tab, line feed and all scripts stay.

    >>> visible("\x1b[31mred\u202e")
    '\\x1b[31mred\\u202e'
    """
    return _UNSEEN.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code == 0x0D:
        return "\\r"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shown(text: str, limit: int = SHOWN_CHARACTERS) -> str:
    """The visible form of a text, cut at `limit` characters with a note of how many are missing."""
    if len(text) <= limit:
        return visible(text)
    return f"{visible(text[:limit])}\n… [{len(text) - limit:,} more characters, see results.parquet]"


def one_line(text: str, limit: int = 200) -> str:
    """The visible form of a text on one line, for table cells and labels."""
    line = " ".join(visible(text[: limit + 1]).split())
    return line if len(text) <= limit else line[:limit].rstrip() + "…"


def words(text: str) -> list[str]:
    """Words, punctuation marks and runs of blanks; joined they are the text again."""
    return _WORD.findall(text)


def differences(text: str, reference: str) -> tuple[Piece, ...]:
    """`text` in pieces, each with whether it is missing from `reference` in that order, by whole words.

    >>> differences("a red car", "a car")
    (('a ', False), ('red', True), (' car', False))
    """
    tokens, others = words(text), [word for word in words(reference) if not word.isspace()]
    spoken = [token for token in tokens if not token.isspace()]
    if max(len(spoken), len(others)) > COMPARED_WORDS:
        return ((text, False),)
    return tuple(_merged(tokens, _kept(spoken, others)))


def _kept(spoken: list[str], others: list[str]) -> set[int]:
    """Positions in `spoken` that `others` has too."""
    blocks = SequenceMatcher(None, spoken, others, autojunk=False).get_matching_blocks()
    return {block.a + offset for block in blocks for offset in range(block.size)}


def _merged(tokens: list[str], kept: set[int]) -> Iterator[Piece]:
    """Neighbouring tokens of one kind as one piece; a blank is marked only between two marked words."""
    marks, position = [], 0
    for token in tokens:
        blank = token.isspace()
        marks.append(not blank and position not in kept)
        position += not blank
    for index in range(1, len(tokens) - 1):
        marks[index] = marks[index] or (tokens[index].isspace() and marks[index - 1] and marks[index + 1])
    start = 0
    for index in range(1, len(tokens) + 1):
        if index == len(tokens) or marks[index] != marks[start]:
            yield "".join(tokens[start:index]), marks[start]
            start = index
