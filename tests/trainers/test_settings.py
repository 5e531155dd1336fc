"""Steps, rows and learning rates follow from the settings alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from harness.core.errors import HarnessError
from harness.core.types import TokenRow
from tests.models.fixtures import some_rows
from trainers.batches import micro_batches, rows_of_step
from trainers.full import FullSpec
from trainers.full import trainer as full_trainer
from trainers.lora import LoraSpec
from trainers.lora import trainer as lora_trainer
from trainers.settings import TuningSpec, checkpoint_steps, learning_rate, total_steps


def test_settings_are_read_without_torch():
    modules = ", ".join(f"trainers.{name}" for name in ("lora", "full", "auto", "given", "none", "fake", "replay"))
    code = f"import sys, {modules}; print({{'torch', 'peft', 'transformers'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_every_epoch_sees_every_row_once():
    for n_rows, batch_rows in ((10, 4), (8, 4), (3, 16), (1, 1)):
        steps = -(-n_rows // batch_rows)
        epochs = [
            [i for s in range(steps) for i in rows_of_step(e * steps + s + 1, n_rows, batch_rows, 7)] for e in (0, 1)
        ]
        assert [sorted(epoch) for epoch in epochs] == [list(range(n_rows))] * 2
    assert rows_of_step(1, 100, 100, 7) != rows_of_step(2, 100, 100, 7)


def test_micro_batches_hold_every_row_once_under_the_budget():
    rows = some_rows(50)
    for budget in (1, 40, 100, 10**6):
        batches = micro_batches(rows, budget)
        assert sorted(row.id for batch in batches for row in batch) == sorted(row.id for row in rows)
        for batch in batches:
            assert len(batch) == 1 or len(batch) * max(len(row.ids) for row in batch) <= budget


def test_learning_rate_rises_and_falls():
    spec = TuningSpec(lr=1.0, warmup=0.2)
    rates = [learning_rate(step, 10, spec) for step in range(1, 11)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.05
    assert {learning_rate(s, 10, TuningSpec(schedule="constant", warmup=0, lr=0.1)) for s in range(1, 11)} == {0.1}


def test_plan_counts_steps_tokens_and_checkpoints():
    rows = [TokenRow(str(i), (1, 2, 3), (False, True, True)) for i in range(10)]
    plan = lora_trainer.plan(rows, LoraSpec(epochs=2, batch_rows=4))
    assert (plan.n_rows, plan.n_steps, plan.n_tokens, plan.n_target_tokens) == (10, 6, 60, 40)
    assert plan.checkpoint_steps == (3, 6)
    assert full_trainer.plan(rows, FullSpec(epochs=2, batch_rows=4, checkpoint_every=4)).checkpoint_steps == (4, 6)


def test_fractions_of_an_epoch():
    spec = TuningSpec(epochs=0.5, batch_rows=1)
    assert total_steps(10, spec) == 5
    assert checkpoint_steps(10, spec) == (5,)


def test_training_of_warm_up_alone_says_its_numbers():
    with pytest.raises(HarnessError, match="1 rows in steps of 16 give 1 steps, of which 1 are warm-up") as caught:
        total_steps(1, TuningSpec(epochs=1, warmup=0.9))
    assert caught.value.code == "E-STEPS"
    with pytest.raises(HarnessError, match="E-STEPS"):
        lora_trainer.plan([], LoraSpec())


@pytest.mark.parametrize("wrong", [{"lr": 0}, {"lr": -1}, {"epochs": 0}, {"rank": 0}, {"ranks": 8}, {"warmup": 1}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValidationError):
        LoraSpec.model_validate(wrong)
