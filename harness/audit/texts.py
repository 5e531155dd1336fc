"""Texts that are not what they look like: control tokens, invisible characters, outliers, one prompt for all."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

from harness.audit.facts import Facts, finding, share
from harness.core.records import Finding
from harness.core.types import Sample
from harness.data.display import quote

# Controls but tab and line ends; soft hyphen; bidi marks, overrides and isolates; zero-width space, word joiner and
# invisible operators; BOM inside a text; tag characters. The joiners U+200C and U+200D are spelling in many scripts.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)
_OUTLIER_FACTOR = 20
_OUTLIER_CHARACTERS = 2_000
_MIN_ROWS = 10


def special_tokens(facts: Facts) -> Iterator[Finding]:
    """E-SPECIAL-IN-TEXT and E-EOS-IN-TEXT: control tokens of the model, spelled out in the data."""
    pattern = _any_of(facts.special_texts)
    if pattern is None:
        return
    ended = [sample for sample in facts.samples if _only_ends(sample, pattern)]
    is_ended = {sample.id for sample in ended}
    rows = [row for row in facts.samples if row.id not in is_ended and any(map(pattern.search, _texts(row)))]
    if rows:
        yield finding(
            "E-SPECIAL-IN-TEXT",
            "fatal",
            f"{share(len(rows), len(facts.samples))} rows hold control tokens of this model as text",
            fix="remove or respell them in the data (turns belong in messages, the harness writes the template), "
            "leave the rows out with --drop-bad, or take another model",
            samples=rows,
            say=lambda sample: _around(sample, pattern),
        )
    if ended:
        yield finding(
            "E-EOS-IN-TEXT",
            "warning",
            f"{share(len(ended), len(facts.samples))} references end with a control token as text",
            fix="remove it: the end token is added to every reference, so it would stand there twice",
            samples=ended,
            say=lambda sample: _around(sample, pattern),
        )


def invisible_characters(facts: Facts) -> Iterator[Finding]:
    """E-INVISIBLE: characters that nobody sees and the model reads."""
    rows = [sample for sample in facts.samples if any(map(_INVISIBLE.search, _texts(sample)))]
    if rows:
        yield finding(
            "E-INVISIBLE",
            "warning",
            f"{share(len(rows), len(facts.samples))} rows hold invisible characters (control, direction, zero width)",
            fix="remove them from the data, unless they are meant",
            samples=rows,
            say=lambda sample: _around(sample, _INVISIBLE),
        )


def outliers(facts: Facts) -> Iterator[Finding]:
    """E-OUTLIER: rows very much longer than the others; often two records glued together."""
    sizes = {s.id: len(s.question) + max(map(len, s.references), default=0) for s in facts.samples}
    usual = median(sizes.values()) if sizes else 0.0
    limit = max(_OUTLIER_FACTOR * usual, _OUTLIER_CHARACTERS)
    rows = [sample for sample in facts.samples if sizes[sample.id] > limit]
    if rows:
        yield finding(
            "E-OUTLIER",
            "warning",
            f"{share(len(rows), len(facts.samples))} rows are over {limit:,.0f} characters; the median is {usual:,.0f}",
            fix="look whether records were glued together, or a quote was never closed",
            samples=rows,
            say=lambda sample: f"{sizes[sample.id]:,} characters, {quote(sample.question, 60)}",
        )


def same_prompt(facts: Facts) -> Iterator[Finding]:
    """E-SAME-PROMPT: most rows of a split ask one and the same question."""
    for split, samples in facts.splits.items():
        counts = Counter(facts.folded[sample.id] for sample in samples)
        text, n = counts.most_common(1)[0] if counts else ("", 0)
        if len(samples) >= _MIN_ROWS and 2 * n > len(samples):
            yield finding(
                "E-SAME-PROMPT",
                "warning",
                f"{share(n, len(samples))} {split} rows have the same prompt",
                fix="check that data.prompt has a {field} hole that differs between rows",
                samples=[sample for sample in samples if facts.folded[sample.id] == text],
                say=lambda sample: quote(sample.question),
            )


def _any_of(texts: Sequence[str]) -> re.Pattern[str] | None:
    spelled = sorted({text for text in texts if text.strip()}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, spelled))) if spelled else None


def _texts(sample: Sample) -> list[str]:
    return [message.content for message in sample.messages] + list(sample.references)


def _only_ends(sample: Sample, pattern: re.Pattern[str]) -> bool:
    """Whether control tokens stand nowhere but at the end of references, one each."""
    found = [match for reference in sample.references for match in pattern.finditer(reference)]
    at_end = all(not match.string[match.end() :].strip() for match in found)
    return bool(found) and at_end and not any(pattern.search(message.content) for message in sample.messages)


def _around(sample: Sample, pattern: re.Pattern[str]) -> str:
    match = next(match for text in _texts(sample) if (match := pattern.search(text)))
    return quote(match.string[max(0, match.start() - 20) : match.end() + 20])
