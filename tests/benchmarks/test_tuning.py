"""The comparison counts what it says it counts; no TRL needed, and nothing is timed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.contestants import Moment, Outcome, Seen, _seen_in, harness, trainer, validation_loss
from benchmarks.material import Material, rows_of_tasks, settings, whole_steps
from benchmarks.tuning import line, same_steps
from harness.models.location import DEMO_FOLDER


@pytest.fixture(scope="module")
def material() -> Material:
    """Two steps on the embedded model."""
    pool = whole_steps(rows_of_tasks(["tickets", "general"], "train", DEMO_FOLDER)[180:230])
    validation = tuple(rows_of_tasks(["tickets"], "validation", DEMO_FOLDER)[:8])
    return Material(DEMO_FOLDER, pool, validation, 2, settings(len(pool), 2, seed=0, dropout=0.0), "float32")


def test_trainer_gets_the_rows_of_the_harness_in_every_step_and_learns_the_same(material: Material, tmp_path: Path):
    ours, theirs = harness(material, tmp_path / "ours"), trainer(material, tmp_path / "theirs")
    assert same_steps(ours, theirs)
    assert ours.n_tokens == theirs.n_tokens == sum(len(row.ids) for row in material.rows_of(2))
    assert theirs.places_per_token > 1 > ours.places_per_token
    losses = [validation_loss(material, outcome.adapter) for outcome in (ours, theirs)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_trainer_with_two_batches_a_step_gets_the_same_rows(material: Material, tmp_path: Path):
    whole, halves = trainer(material, tmp_path / "whole"), trainer(material, tmp_path / "halves", per_batch=8)
    assert same_steps(whole, halves)
    assert halves.places_per_token <= whole.places_per_token


def test_grouping_by_length_composes_steps_of_its_own(material: Material, tmp_path: Path):
    grouped = trainer(material, tmp_path, sampling="group_by_length")
    assert not same_steps(trainer(material, tmp_path), grouped)
    assert [len(seen.rows) for seen in grouped.seen] == [16, 16]


def test_padding_is_told_from_tokens_by_the_mask():
    batch = {"input_ids": torch.tensor([[5, 6, 0], [0, 7, 8]]), "attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]])}
    assert _seen_in(batch) == Seen(5, 6, ((0, 7, 8), (5, 6)))


def test_joined_rows_are_told_apart_by_their_positions():
    batch = {"input_ids": torch.tensor([[5, 6, 0, 7, 8]]), "position_ids": torch.tensor([[0, 1, 0, 1, 2]])}
    assert _seen_in(batch) == Seen(5, 5, ((0, 7, 8), (5, 6)))


def test_speed_is_of_the_steps_after_the_first_and_ratios_are_of_one_round():
    def outcome(*ends: float) -> Outcome:
        steps = (Seen(100, 200), *(Seen(10, 20) for _ in ends[1:]))
        return Outcome(tuple(Moment(end, end / 2) for end in ends), steps, Path())

    ours, theirs = [outcome(9, 10, 11), outcome(9, 14, 19)], [outcome(50, 53, 54), outcome(50, 60, 70)]
    found = line("theirs", {"harness": ours, "theirs": theirs}, 1.5)
    # 20 tokens in 4 s and in 20 s; a round's ratios are 4 / 2 and 20 / 10.
    assert found.tokens_per_s == pytest.approx((5 + 1) / 2)
    assert found.tokens_per_cpu_s == pytest.approx(5 + 1)
    assert (found.ratio, found.ratio_cpu, found.places_per_token) == (2, 2, 2)
