"""What fits: prompts and references in tokens, against the model's context and the task's max_tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from harness.audit.facts import Facts, finding, share
from harness.core.records import Finding
from harness.core.types import Sample


def too_long(facts: Facts) -> Iterator[Finding]:
    """E-TOOLONG: fatal in train, where a cut row would teach to stop early; elsewhere the rows become failures."""
    for split, samples in facts.splits.items():
        rows = [sample for sample in _measured(facts, samples) if _need(facts, sample) > facts.context_length]
        if rows:
            yield _too_long(facts, rows, len(samples), is_train=split == "train")


def unreachable_references(facts: Facts) -> Iterator[Finding]:
    """E-LONG-REFERENCE: right answers that cannot be generated within max_tokens. Bytes say nothing about that."""
    limit = facts.task.generation.max_tokens
    if facts.in_bytes:
        return
    for split in ("validation", "test"):
        samples = facts.splits[split]
        # The end token is counted in the length but is no part of the text.
        rows = [sample for sample in _measured(facts, samples) if facts.lengths[sample.id][1] - 1 > limit]
        if rows:
            longest = max(facts.lengths[sample.id][1] for sample in rows)
            yield finding(
                "E-LONG-REFERENCE",
                "warning",
                f"{share(len(rows), len(samples))} {split} references cannot be produced: "
                f"they are longer than generation.max_tokens = {limit}",
                fix=f"set generation.max_tokens to {longest} or more",
                samples=rows,
                say=lambda sample: f"{facts.lengths[sample.id][1]} tokens",
            )


def masked_rows(facts: Facts) -> Iterator[Finding]:
    """E-MASK: rows whose training tokens are not what inference would see."""
    rows = [sample for sample in facts.samples if sample.id in facts.row_problems]
    if rows:
        yield finding(
            "E-MASK",
            "fatal",
            f"{share(len(rows), len(facts.samples))} rows would be trained on other tokens than inference uses; "
            f"the first: {facts.row_problems[rows[0].id]}",
            fix="`harness show` has both token sequences side by side; mend the chat template, or use --drop-bad",
            samples=rows,
            say=lambda sample: facts.row_problems[sample.id],
        )


def token_lengths(facts: Facts) -> dict[str, dict[str, float]]:
    """Split -> {prompt_min, prompt_median, prompt_p95, prompt_max, reference_min, ...} in tokens; no empty splits."""
    return {
        split: {**_summary("prompt", facts, measured, 0), **_summary("reference", facts, measured, 1)}
        for split, samples in facts.splits.items()
        if (measured := _measured(facts, samples))
    }


def _measured(facts: Facts, samples: Sequence[Sample]) -> list[Sample]:
    """Rows that could be rendered; the others are E-MASK findings."""
    return [sample for sample in samples if sample.id in facts.lengths]


def _need(facts: Facts, sample: Sample) -> int:
    """Tokens of context a row takes: in training the reference, in evaluation room for the answer."""
    n_prompt, n_reference = facts.lengths[sample.id]
    return n_prompt + (n_reference if sample.split == "train" else facts.task.generation.max_tokens)


def _too_long(facts: Facts, rows: Sequence[Sample], n: int, *, is_train: bool) -> Finding:
    split = rows[0].split
    what = "prompt and reference" if is_train else "prompt and generation.max_tokens"
    longest = max(_need(facts, sample) for sample in rows)
    return finding(
        "E-TOOLONG",
        "fatal" if is_train else "warning",
        f"{share(len(rows), n)} {split} rows do not fit: {what} exceed the context of {facts.context_length:,} tokens"
        + ("" if is_train else "; they will be counted as failures"),
        fix="leave them out with --drop-bad, shorten them, or take a model with a larger context"
        if is_train
        else f"lower generation.max_tokens, or take a model with a context of {longest:,} or more",
        samples=rows,
        say=lambda sample: f"{_need(facts, sample):,} tokens",
    )


def _summary(name: str, facts: Facts, samples: Sequence[Sample], which: int) -> dict[str, float]:
    values = np.array([facts.lengths[sample.id][which] for sample in samples], dtype=np.float64)
    figures = {
        "min": values.min(),
        "median": np.median(values),
        "p95": np.percentile(values, 95),
        "max": values.max(),
    }
    return {f"{name}_{key}": float(value) for key, value in figures.items()}
