"""Judges that ask no model keep what every judge promises."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.autorater.labels import export_labels
from harness.autorater.rating import items_of
from harness.core.protocols import JudgeContext
from harness.testing.judges import check_judge
from judges.length import kind as length
from judges.reference import kind as reference
from judges.replay import kind as replay
from judges.synthetic import kind as synthetic
from tests.autorater.synthetic_labels import labels


@pytest.mark.parametrize("label_kind", ["likert", "pass_fail", "pair"])
def test_length_keeps_every_promise(label_kind):
    check_judge(length, label_kind=label_kind)


@pytest.mark.parametrize("label_kind", ["likert", "pair"])
def test_metric_keeps_every_promise(label_kind):
    check_judge(reference, context=context(label_kind, Path(), metric="chrf"))


@pytest.mark.parametrize("label_kind", ["likert", "pass_fail", "pair"])
def test_imitator_keeps_every_promise(label_kind, tmp_path: Path):
    found = labels(8, kind=label_kind)
    export_labels(found, tmp_path / "people.jsonl")
    options = {"labels": "people.jsonl", "rho": 0.7, "unparsed": 0.2}
    check_judge(synthetic, context=context(label_kind, tmp_path, **options), items=items_of(found))


@pytest.mark.parametrize("label_kind", ["likert", "pair"])
def test_stored_verdicts_keep_every_promise(label_kind, tmp_path: Path):
    items = items_of(labels(6, kind=label_kind))
    rows = [{"question": item.question, "answers": answers_of(item), "score": i / 20} for i, item in enumerate(items)]
    (tmp_path / "verdicts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    context_ = replace(context(label_kind, tmp_path), options={"file": "verdicts.jsonl"})
    check_judge(replay, context=context_, items=items, hears_all=False)


def answers_of(item) -> list[str]:
    return list(item.answers) if hasattr(item, "answers") else [item.answer]


def context(label_kind, folder: Path, **options) -> JudgeContext:
    return JudgeContext("judge", "help", "", label_kind, 5, options, folder)
