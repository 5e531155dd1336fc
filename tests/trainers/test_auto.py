"""`auto` fills in what was left open by the published table, and says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from harness.core.types import TokenRow
from tests.models.fixtures import FolderSink, open_backend, silent, some_rows
from trainers import auto
from trainers.lora import LoraSpec

LARGE = {"parameters": 70_000_000_000}
SMALL = {"parameters": 7_000_000_000}


def rows(n: int, n_tokens: int) -> list[TokenRow]:
    return [TokenRow(str(i), (1,) * n_tokens, (False,) * (n_tokens - 1) + (True,)) for i in range(n)]


def settled(n: int, n_tokens: int, model: dict[str, int], **typed: float) -> tuple[LoraSpec, tuple[str, ...]]:
    spec, reasons = auto.trainer.settle(rows(n, n_tokens), auto.AutoSpec.model_validate(typed), model)
    return auto.as_lora(spec), reasons


# The published table, with the defaults of `lora`: 3 epochs, a learning rate of 2e-4.
@pytest.mark.parametrize(
    ("n", "n_tokens", "model", "expected"),
    [
        (999, 499, LARGE, (20, 2e-3, 4)),
        (999, 499, SMALL, (3, 2e-3, 4)),
        (1000, 499, LARGE, (10, 1e-3, 4)),
        (999, 500, LARGE, (10, 1e-3, 4)),
        (1000, 499, SMALL, (3, 2e-4, 8)),
        (999, 500, SMALL, (3, 2e-4, 8)),
        # Half-way from 1,000 to 10,000 on a logarithmic scale: half-way from x5 to x1.
        (3162, 10, LARGE, (10, 6e-4, 4)),
        (20_000, 10, LARGE, (10, 2e-4, 4)),
    ],
)
def test_settings_are_those_of_the_published_table(
    n: int, n_tokens: int, model: dict[str, int], expected: tuple[float, float, int]
):
    spec, _ = settled(n, n_tokens, model)
    assert (spec.epochs, spec.rank) == (expected[0], expected[2])
    assert spec.lr == pytest.approx(expected[1])
    assert spec.alpha == 2 * spec.rank


def test_reasons_name_rows_lengths_model_and_threshold():
    _, reasons = settled(640, 88, LARGE)
    assert reasons[0] == (
        "epochs 20: the table's number for 640 rows with 88 tokens on average (fewer than 1,000 rows and under 500 "
        "tokens) on a larger model (70 B parameters, from 10 B parameters)"
    )
    assert reasons[1] == "lr 0.002: 10 times the default of 0.0002, the table's multiplier for these"
    assert "x5 is used up to 1,000 rows, x1 from 10,000" in settled(5000, 88, LARGE)[1][1]


def test_what_was_set_is_kept_and_said():
    spec, reasons = settled(640, 88, SMALL, epochs=7, lr=5e-5, rank=32, alpha=10, dropout=0.2, seed=3)
    assert spec == LoraSpec(epochs=7, lr=5e-5, rank=32, alpha=10, dropout=0.2, seed=3)
    assert [reason for reason in reasons if "kept as it was set" in reason] == [
        "epochs 7: kept as it was set",
        "lr 5e-05: kept as it was set",
        "rank 32: kept as it was set",
        "alpha 10: kept as it was set",
    ]


def test_alpha_follows_a_rank_that_was_set():
    assert settled(640, 88, SMALL, rank=32)[0].alpha == 64


def test_a_model_of_unknown_size_counts_as_smaller_and_the_reason_says_so():
    spec, reasons = settled(640, 88, {})
    assert spec == settled(640, 88, SMALL)[0]
    assert "a model of unknown size, taken as a smaller one" in reasons[0]


def test_the_threshold_between_smaller_and_larger_can_be_set():
    assert settled(640, 88, SMALL, larger_from=7e9)[0].epochs == 20


def test_a_model_far_smaller_than_the_tables_is_told_so():
    assert "all far larger than 2.2 M parameters" in settled(640, 88, {"parameters": 2_164_416})[1][-1]


def test_few_rows_get_more_epochs_and_very_many_fewer():
    # 100 rows are 7 steps an epoch: 8 epochs are the first that give 50 steps.
    spec, reasons = settled(100, 20, SMALL)
    assert spec.epochs == 8
    assert "raised from 3, which gives only 21 optimiser steps" in reasons[0]
    assert settled(3, 20, SMALL)[0].epochs == 20
    # 100,000 rows are 6,250 steps an epoch: 3 epochs are the most under 20,000.
    spec, reasons = settled(100_000, 2, LARGE)
    assert spec.epochs == 3
    assert "lowered from 10, which gives 62,500 optimiser steps" in reasons[0]
    assert settled(100_000, 2, LARGE, epochs=10)[0].epochs == 10


def test_settings_that_are_settled_stay_as_they_are_and_open_ones_are_not_trained_with():
    data, open_spec = rows(640, 88), auto.AutoSpec()
    spec, _ = auto.trainer.settle(data, open_spec, SMALL)
    assert auto.trainer.settle(data, spec, LARGE)[0] == spec
    with pytest.raises(ValidationError):
        auto.trainer.plan(data, open_spec)


def test_settled_settings_plan_and_train_as_lora_does(zoo: dict[str, Path], tmp_path: Path):
    backend, data = open_backend(zoo["llama3"]), some_rows(8)
    spec, _ = auto.trainer.settle(data, auto.AutoSpec(epochs=2, batch_rows=4), {})
    assert auto.trainer.plan(data, spec).checkpoint_steps == (2, 4)
    found = list(auto.trainer.train(backend.model, data, data, spec, FolderSink(tmp_path), silent))
    assert [checkpoint.step for checkpoint in found] == [2, 4]
    assert '"r": 4' in (found[-1].folder / "adapter_config.json").read_text()
