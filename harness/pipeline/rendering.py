"""All samples as token ids, before anything is spent: rows to train on, lengths, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.core.errors import HarnessError
from harness.core.protocols import Backend
from harness.core.records import Finding
from harness.core.specs import RunSpec
from harness.core.types import Sample, TokenRow
from harness.data import Dataset
from harness.prompting import Renderer, ShotPool


@dataclass(frozen=True)
class Rendered:
    """All samples as token ids, rendered once. lengths: id -> (prompt tokens, reference tokens with the end)."""

    rows: Mapping[str, TokenRow]
    lengths: Mapping[str, tuple[int, int]]
    problems: Mapping[str, str]


def render(samples: Sequence[Sample], renderer: Renderer) -> Rendered:
    """Rows are kept for train and validation; test samples are only measured.

    What is wrong with single rows is noted; what is wrong with every row (a template that refuses the task's system
    instruction) is raised as it is, with its own way out.
    """
    rows: dict[str, TokenRow] = {}
    lengths: dict[str, tuple[int, int]] = {}
    problems: dict[str, str] = {}
    for sample in samples:
        try:
            row = renderer.train_row(sample)
        except HarnessError as error:
            problems[sample.id] = error.what
            if len(problems) == len(samples):
                raise
            continue
        n_references = [len(renderer.completion_ids(reference)) for reference in sample.references]
        # Trained on is the first; answered is any, so the shortest says whether one can be.
        n_shown = n_references[0] if sample.split == "train" else min(n_references)
        lengths[sample.id] = (len(row.ids) - n_references[0], n_shown)
        if problem := renderer.problem(sample, row):
            problems[sample.id] = problem
        if sample.split != "test":
            rows[sample.id] = row
    return Rendered(rows, lengths, problems)


def special_texts(backend: Backend) -> list[str]:
    """The spellings of the tokenizer's control tokens."""
    tokenizer = backend.tokenizer
    texts = (tokenizer.decode([token], skip_special=False) for token in sorted(tokenizer.special_ids))
    return [text for text in texts if len(text) > 1]


def long_shots(spec: RunSpec, dataset: Dataset, renderer: Renderer, shots: ShotPool, backend: Backend) -> list[Finding]:
    """Few-shot prompts that leave no room for the answer: they will be failures, so say so beforehand."""
    findings = []
    room = backend.context_length - spec.task.generation.max_tokens
    evaluated = [*dataset.split("validation"), *dataset.split("test")]
    for k in sorted(set(spec.task.prompting.shots) - {0}):
        longest = {
            s.id: max(
                len(renderer.prompt_ids(s, shots.shots(s, k=k, draw=d))) for d in range(spec.task.prompting.draws)
            )
            for s in evaluated
        }
        too_long = tuple(i for i, n in longest.items() if n > room)
        if too_long:
            findings.append(
                Finding(
                    code="E-TOOLONG",
                    severity="warning",
                    what=f"{len(too_long)} of {len(evaluated)} prompts with {k} shots leave no room for "
                    f"{spec.task.generation.max_tokens} tokens in a context of {backend.context_length}",
                    fix="use fewer shots (prompting.shots) or a smaller generation.max_tokens",
                    count=len(too_long),
                    examples=too_long[:5],
                    ids=too_long,
                )
            )
    return findings
