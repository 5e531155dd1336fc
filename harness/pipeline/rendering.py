"""All samples as token ids, before anything is spent: rows to train on, lengths, and what is wrong with them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.core.errors import HarnessError
from harness.core.protocols import Backend
from harness.core.records import Finding
from harness.core.specs import RunSpec
from harness.core.types import Sample, TokenRow
from harness.data import Dataset
from harness.prompting import Renderer, ShotPool

# More tokens than a template writes around a turn that its parts, rendered alone, do not have.
_AROUND = 16


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


def to_bytes(rendered: Rendered) -> bytes:
    """All of it as one file: token ids one row behind the other, and where each row ends."""
    rows = list(rendered.rows.values())
    names = {"rows": list(rendered.rows), "lengths": list(rendered.lengths), "problems": dict(rendered.problems)}
    stream = io.BytesIO()
    np.savez(
        stream,
        names=np.frombuffer(json.dumps(names).encode(), np.uint8),
        ids=np.fromiter((token for row in rows for token in row.ids), np.int32),
        loss=np.packbits(np.fromiter((counts for row in rows for counts in row.loss), np.bool_)),
        n_tokens=np.array([len(row.ids) for row in rows], np.int64),
        lengths=np.array(list(rendered.lengths.values()), np.int64).reshape(-1, 2),
    )
    return stream.getvalue()


def from_bytes(content: bytes) -> Rendered:
    """What `to_bytes` wrote."""
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        names = json.loads(stored["names"].tobytes())
        n_tokens, ids = stored["n_tokens"], stored["ids"].tolist()
        loss = np.unpackbits(stored["loss"], count=len(ids)).astype(bool).tolist()
        lengths = [(int(prompt), int(reference)) for prompt, reference in stored["lengths"]]
    ends = np.cumsum(n_tokens).tolist()
    spans = zip(names["rows"], [0, *ends], ends, strict=False)
    return Rendered(
        {name: TokenRow(name, tuple(ids[start:end]), tuple(loss[start:end])) for name, start, end in spans},
        dict(zip(names["lengths"], lengths, strict=True)),
        names["problems"],
    )


def special_texts(backend: Backend) -> list[str]:
    """The spellings of the tokenizer's control tokens."""
    tokenizer = backend.tokenizer
    texts = (tokenizer.decode([token], skip_special=False) for token in sorted(tokenizer.special_ids))
    return [text for text in texts if len(text) > 1]


@dataclass(frozen=True)
class Prompts:
    """What tells how long a prompt with shots is. lengths: of each sample's own prompt and reference, in tokens."""

    renderer: Renderer
    shots: ShotPool
    lengths: Mapping[str, tuple[int, int]]

    def exceeds(self, sample: Sample, room: int, *, k: int, draw: int) -> bool:
        """Whether the prompt has more than `room` tokens; rendered only where its parts do not settle it."""
        shown = self.shots.shots(sample, k=k, draw=draw)
        parts = [self.lengths.get(each.id) for each in (sample, *shown)]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts) and sum(n + m + _AROUND for n, m in known) <= room:
            return False
        return len(self.renderer.prompt_ids(sample, shown)) > room


def long_shots(spec: RunSpec, dataset: Dataset, prompts: Prompts, backend: Backend) -> list[Finding]:
    """Few-shot prompts that leave no room for the answer: they will be failures, so say so beforehand."""
    findings = []
    room = backend.context_length - spec.task.generation.max_tokens
    evaluated = [*dataset.split("validation"), *dataset.split("test")]
    draws = range(spec.task.prompting.draws)
    for k in sorted(set(spec.task.prompting.shots) - {0}):
        too_long = tuple(s.id for s in evaluated if any(prompts.exceeds(s, room, k=k, draw=d) for d in draws))
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
