"""Numbers that follow from sizes: where to cut, how long answers may be, whether examples fit in a prompt."""

from __future__ import annotations

from harness.scaffold.proposal import Choice
from harness.scaffold.texts import Texts

# A token holds about four bytes of English, three of most other text: counted by three, nothing is cut off.
BYTES_PER_TOKEN = 3
_SHOTS = 4
_LONG_PROMPT_TOKENS = 6_000


def tokens(n_bytes: int) -> int:
    """A generous estimate of the tokens of a text of so many UTF-8 bytes.

    >>> tokens(100)
    34
    """
    return -(-n_bytes // BYTES_PER_TOKEN)


def max_tokens(texts: Texts) -> Choice:
    """Room for the longest reference and half as much again, in steps of 16, at least 32."""
    longest = tokens(texts.max_reference_bytes)
    room = max(32, 16 * (longest * 3 // 32 + 1))
    why = f"the longest reference has {texts.max_reference:,} characters, about {longest:,} tokens; half as much again"
    return Choice("generation.max_tokens", room, why)


def shots(texts: Texts) -> Choice:
    """The untuned baselines: with four examples too, unless prompts are so long that these would not fit."""
    one = tokens(texts.long_prompt_bytes + texts.max_reference_bytes)
    if (_SHOTS + 1) * one > _LONG_PROMPT_TOKENS:
        return Choice("prompting.shots", [0], f"no examples: prompts of about {one:,} tokens are too long for four")
    return Choice("prompting.shots", [0, _SHOTS], "untuned baselines: a good prompt with examples is the bar to beat")


def split(n_rows: int) -> Choice:
    """Shares of one file: small files need a larger test share to show anything, large ones a smaller."""
    if n_rows < 500:
        shares, why = (0.6, 0.15, 0.25), "few rows: a test set that is too small can show nothing"
    elif n_rows < 20_000:
        shares, why = (0.8, 0.1, 0.1), "the usual shares"
    else:
        shares, why = (0.9, 0.05, 0.05), "many rows: a twentieth is enough to test on"
    n_test = round(n_rows * shares[2])
    why = f"{why}; about {n_test:,} rows to test on"
    return Choice("data.split", dict(zip(("train", "validation", "test"), shares, strict=True)), why)
