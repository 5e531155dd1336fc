"""Datasets made of rows for each split, and their audit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from harness.audit import audit
from harness.core.records import AuditRecord
from harness.core.specs import DataSpec, GenerationSpec, MetricsSpec, PromptingSpec, TaskSpec
from harness.data import Dataset, read

Pair = tuple[str, str]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., tuple[Dataset, TaskSpec]]:
    """Read (prompt, completion) pairs, or whole rows, as the splits of a task."""

    def run(
        train: Iterable[Pair | dict[str, object]] = (),
        test: Iterable[Pair | dict[str, object]] = (),
        validation: Iterable[Pair | dict[str, object]] = (),
        *,
        max_tokens: int = 256,
        shots: tuple[int, ...] = (0,),
        **data: object,
    ) -> tuple[Dataset, TaskSpec]:
        for name, rows in (("train", train), ("validation", validation), ("test", test)):
            lines = [json.dumps(row if isinstance(row, dict) else _row(row)) for row in rows]
            (tmp_path / f"{name}.jsonl").write_text("".join(line + "\n" for line in lines))
        files = {name: f"{name}.jsonl" for name in ("train", "validation", "test")}
        task = TaskSpec(
            name="toy",
            data=DataSpec.model_validate({**files, **data}),
            metrics=MetricsSpec(primary="exact_match"),
            generation=GenerationSpec(max_tokens=max_tokens),
            prompting=PromptingSpec(shots=shots),
        )
        return read(task, tmp_path, drop_bad=False), task

    return run


@pytest.fixture
def check(make: Callable[..., tuple[Dataset, TaskSpec]]) -> Callable[..., AuditRecord]:
    """Audit rows with one token a word, plus the end token for references."""

    def run(
        train: Iterable[Pair] = (),
        test: Iterable[Pair] = (),
        validation: Iterable[Pair] = (),
        *,
        context_length: int = 10_000,
        special_texts: tuple[str, ...] = ("<|im_end|>", "</s>"),
        row_problems: Mapping[str, str] | None = None,
        selection_rule: str = "one_standard_error",
        **settings: object,
    ) -> AuditRecord:
        dataset, task = make(train, test, validation, **settings)
        return audit(
            dataset,
            task,
            lengths={
                sample.id: (len(sample.question.split()), len(sample.references[0].split()) + 1)
                for sample in dataset.samples
            },
            context_length=context_length,
            special_texts=special_texts,
            row_problems=row_problems or {},
            selection_rule=selection_rule,
        )

    return run


def _row(pair: Pair) -> dict[str, str]:
    return {"prompt": pair[0], "completion": pair[1]}
