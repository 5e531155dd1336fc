"""Limits of the service that Gemini's rows are written for; they bind nobody who tunes here, so they are notes.

As Google Cloud's page on supervised tuning of Gemini 2.5 says (About supervised fine-tuning for Gemini models).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from harness.core.types import Sample
from harness.data.problems import Problem

MAX_TOKENS = 131_072
MAX_ROWS = 1_000_000
MAX_VALIDATION_ROWS = 5_000
MAX_FILE_BYTES = 10**9
_CODE = "E-GEMINI-LIMIT"
_HERE = "for a run here it makes no difference"


def gemini_limits(samples: Sequence[Sample], *, name: str, n_bytes: int | None = None) -> Iterator[Problem]:
    """A note for whatever supervised tuning of Gemini models might not take.

    Nobody has Gemini's tokenizer here; a token has at least one byte of UTF-8, so an example of fewer bytes than the
    limit has fewer tokens, and a longer one may have more. n_bytes: of the file; otherwise its texts' alone.
    """
    sizes = [_n_bytes(sample) for sample in samples]
    for sample, size in zip(samples, sizes, strict=True):
        if size > MAX_TOKENS:
            what = f"{size:,} bytes: tuning takes {MAX_TOKENS:,} tokens an example, prompt and answer together"
            yield _note(sample.origin, f"{what}; bytes bound tokens from above, so it may exceed them", sample.id)
    numbers: Counter[str] = Counter(sample.split for sample in samples)
    for split, most in (("train", MAX_ROWS), ("validation", MAX_VALIDATION_ROWS)):
        if numbers[split] > most:
            yield _note(name, f"{numbers[split]:,} rows for {split}: tuning takes {most:,}")
    size = sum(sizes) if n_bytes is None else n_bytes
    if size > MAX_FILE_BYTES:
        yield _note(name, f"{size:,} bytes: tuning takes a file of 1 GB")


def _note(where: str, what: str, id_: str | None = None) -> Problem:
    fix = f"shorten or leave out rows before Gemini is tuned on them; {_HERE}"
    return Problem(where, _CODE, what, fix, id_, severity="note")


def _n_bytes(sample: Sample) -> int:
    return _length((*(message.content for message in sample.messages), sample.references[0]))


def _length(texts: Iterable[str]) -> int:
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
