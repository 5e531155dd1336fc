"""Words in any script, and which way of finding them a text needs.

Chinese, Japanese, Thai, Lao, Khmer, Burmese and Tibetan are written without spaces between words: there a character,
with the marks that belong to it, stands for a word. What is decided is decided by each sample's references, so a data
set may mix languages.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

from harness.core.types import Sample
from harness.data.scripts import UNSPACED, unspaced

if TYPE_CHECKING:
    from regex import Pattern

# latin: words of Latin letters (or no letters at all); chinese: Han characters and no other unspaced script;
# unspaced: any other script without spaces; other: scripts with spaces that are not Latin.
Script = Literal["latin", "chinese", "unspaced", "other"]

_NOT_ENGLISH = 0.01


@cache
def _pattern(name: Literal["word", "letter", "foreign", "latin", "han"]) -> Pattern[str]:
    import regex

    source = {
        "word": rf"{UNSPACED}\p{{M}}*|[[\p{{L}}\p{{N}}\p{{M}}]--{UNSPACED}]+",
        "letter": r"\p{L}",
        "foreign": r"[\p{L}--[a-zA-Z]]",
        "latin": r"\p{Script=Latin}",
        "han": r"\p{Script=Han}",
    }
    return regex.compile(source[name], regex.V1)


def words(text: str) -> list[str]:
    """Runs of letters, marks and digits; every character of an unspaced script is a word of its own.

    >>> words("The dog's 2 狗。हिन्दी")
    ['The', 'dog', 's', '2', '狗', 'हिन्दी']
    """
    return list(_pattern("word").findall(text))


@lru_cache(maxsize=65_536)
def script_of(references: tuple[str, ...]) -> Script:
    """What kind of script the texts are in: unspaced if any character is, else by the most letters.

    >>> script_of(("naïve",)), script_of(("狗 (dog)",)), script_of(("いぬ",)), script_of(("собака",))
    ('latin', 'chinese', 'unspaced', 'other')
    """
    text = "\n".join(references)
    if text.isascii():
        return "latin"
    found = unspaced().findall(text)
    if found:
        return "chinese" if all(_pattern("han").match(character) for character in found) else "unspaced"
    n_latin, n_letters = len(_pattern("latin").findall(text)), len(_pattern("letter").findall(text))
    return "latin" if 2 * n_latin >= n_letters else "other"


def scripts_of(samples: Sequence[Sample]) -> set[Script]:
    """The scripts of all samples' references; Latin where there are none."""
    return {script_of(sample.references) for sample in samples} or {"latin"}


def is_english(samples: Sequence[Sample]) -> bool:
    """Whether the references could be English: of 100 characters, at most one is a letter outside ASCII."""
    texts = [text for sample in samples for text in sample.references]
    n_others = sum(len(_pattern("foreign").findall(text)) for text in texts if not text.isascii())
    return n_others <= _NOT_ENGLISH * sum(map(len, texts))


def spelled(choices: Collection[str]) -> str:
    """How signatures spell which tokens were compared: one way, or several that the sample's script decides between.

    >>> spelled({"zh", "13a"})
    'by-script[13a,zh]'
    """
    return next(iter(choices)) if len(choices) == 1 else f"by-script[{','.join(sorted(choices))}]"
