"""What the samples' texts are like, counted once: lengths, repetitions, numbers, JSON, scripts, overlap."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.core.types import Sample
from harness.data.fold import fold
from harness.scaffold.columns import N_LOOKED_AT

# Scripts that put no blanks between words.
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
_CODE = re.compile(
    r"```|^\s*(def|class|import|from \w+ import|function|public|const|let|var|#include|SELECT|INSERT|UPDATE|WITH)\b"
    r"|[;{]\s*$|=>|\breturn\b.*[;)]",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Texts:
    """Facts about prompts and references. Means, shares and counts are over the samples that were looked at;
    `labels`, `max_prompt_bytes` and `max_reference_bytes` over all.

    labels: each first reference with its count. Words are runs between blanks; in scripts without blanks a character
    counts as a word. overlap: share of a reference's words that its prompt has too. turns: user turns a sample.
    """

    n: int
    labels: Counter[str]
    prompt_words: float
    reference_words: float
    long_reference_words: float
    references_a_sample: float
    is_json: float
    is_number: float
    has_decimals: bool
    is_code: float
    overlap: float
    prompt_script: str
    reference_script: str
    turns: float
    max_prompt_bytes: int
    max_reference_bytes: int
    long_prompt_bytes: int
    max_prompt: int
    max_reference: int

    @property
    def is_unspaced(self) -> bool:
        """Whether the references are mostly written without blanks between words."""
        return self.reference_script in _UNSPACED


def measure(samples: Sequence[Sample]) -> Texts:
    """The facts about at least one sample; details from an even choice of N_LOOKED_AT of them."""
    looked_at = samples[:: math.ceil(len(samples) / N_LOOKED_AT)]
    first = [sample.references[0].strip() for sample in looked_at]
    lengths = sorted(n_words(reference) for reference in first)
    sizes = sorted(n_bytes(sample) for sample in looked_at)
    return Texts(
        n=len(samples),
        labels=Counter(sample.references[0] for sample in samples),
        prompt_words=_mean([n_words(sample.question) for sample in looked_at]),
        reference_words=_mean(lengths),
        long_reference_words=lengths[int(0.9 * (len(lengths) - 1))],
        references_a_sample=max(_references_a_split(samples)),
        is_json=_mean([_is_object(text) for text in first]),
        is_number=_mean([is_number(text) for text in first]),
        has_decimals=any("." in text for text in first if is_number(text)),
        is_code=_mean([_CODE.search(text) is not None for text in first]),
        overlap=_mean([_overlap(sample) for sample in looked_at]),
        prompt_script=_script(sample.question for sample in looked_at),
        reference_script=_script(first),
        turns=_mean([sum(message.role == "user" for message in sample.messages) for sample in looked_at]),
        max_prompt_bytes=max(n_bytes(sample) for sample in samples),
        max_reference_bytes=max(len(text.encode()) for sample in samples for text in sample.references),
        long_prompt_bytes=sizes[int(0.9 * (len(sizes) - 1))],
        max_prompt=max(sum(len(message.content) for message in sample.messages) for sample in samples),
        max_reference=max(len(text) for sample in samples for text in sample.references),
    )


def n_bytes(sample: Sample) -> int:
    """UTF-8 bytes of all turns of a prompt: what tokens are estimated from, in any script."""
    return sum(len(message.content.encode()) for message in sample.messages)


def n_words(text: str) -> int:
    """Words between blanks; where there are hardly any blanks for the length, characters.

    >>> n_words("a short answer"), n_words("这是一个回答")
    (3, 6)
    """
    words = text.split()
    letters = sum(map(len, words))
    unspaced = words and letters / len(words) > 5 and not text.isascii() and _is_unspaced(text)
    return letters if unspaced else len(words)


def is_number(text: str) -> bool:
    """Whether a text is one plain number.

    >>> [is_number(text) for text in ("-3.5", "1e3", "12 kg", "nan")]
    [True, True, False, False]
    """
    return re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", text.strip()) is not None


def json_keys(samples: Sequence[Sample]) -> tuple[str, ...]:
    """The keys of references that are JSON objects, the most frequent first."""
    counts: Counter[str] = Counter()
    for sample in samples:
        if _is_object(sample.references[0]):
            counts.update(list(json.loads(sample.references[0])))
    return tuple(key for key, _ in counts.most_common())


def n_repeated(samples: Sequence[Sample]) -> int:
    """How many samples ask what an earlier one has asked, case, punctuation and blanks aside."""
    return len(samples) - len({fold(sample.question) for sample in samples})


def _references_a_split(samples: Sequence[Sample]) -> list[float]:
    """Mean number of references by split: often only validation and test have several."""
    counts: dict[str, list[int]] = {}
    for sample in samples:
        counts.setdefault(sample.split, []).append(len(sample.references))
    return [_mean(numbers) for numbers in counts.values()]


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


def _is_object(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _overlap(sample: Sample) -> float:
    words = fold(sample.references[0]).split()
    asked = set(fold(sample.question).split())
    return sum(word in asked for word in words) / len(words) if words else 0.0


def _is_unspaced(text: str) -> bool:
    return any(_script_of(character) in _UNSPACED for character in text[:50])


def _script(texts: Iterable[str]) -> str:
    """The script most letters are in, by the first word of their Unicode names; 200 characters of each text count."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_script_of(character) for character in text[:200] if character.isalpha())
    return counts.most_common(1)[0][0] if counts else ""


def _script_of(character: str) -> str:
    return "LATIN" if character.isascii() else unicodedata.name(character, "").partition(" ")[0]
