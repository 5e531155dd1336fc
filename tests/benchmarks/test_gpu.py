"""The GPU benchmark: what it counts as useful work, and what it says where there is no GPU."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaForCausalLM

from benchmarks.gpu import _llama, flop, main, material_of, requests_of, tiny
from harness.models.loss import projection_of
from trainers.loop import accumulate

ASKED = argparse.Namespace(steps=1, kernels="none", device="cpu")


def test_useful_operations_are_those_that_pytorch_counts_in_a_step_without_padding(tmp_path: Path):
    # Many narrow layers: that the first needs no gradient for its input hardly counts.
    config = _llama(64, 128, 16, 2, 2, 1_024)
    material = material_of(tiny(), ASKED, tmp_path)
    # Narrow adapters too: of their products, those in place are not counted.
    rank = 1
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = LlamaForCausalLM(config)
    adapter = LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base, adapter).get_base_model()
    projection = projection_of(model, torch.device("cpu"))
    row = material.pool[0]
    low = type(row)(row.id, tuple(i % 1_024 for i in row.ids), row.loss)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        accumulate(
            model,
            [low],
            10**6,
            device=torch.device("cpu"),
            precision=nullcontext(),
            as_tree=False,
            backward=lambda loss: loss.backward(),
            projection=projection,
        )
    # It counts whole squares of scores, where half of each is useful.
    half = 6 * config.num_hidden_layers * config.hidden_size * len(row.ids) ** 2
    assert flop(config, rank, [row.ids], material) + half == pytest.approx(counted.get_total_flops(), rel=0.04)


def test_rows_and_prompts_share_no_beginning(tmp_path: Path):
    pool = material_of(tiny(), ASKED, tmp_path).pool
    assert len({row.ids[0] for row in pool}) == len(pool)
    assert all(row.loss[-1] and not row.loss[0] for row in pool)
    assert len({request.ids[0] for request in requests_of(tiny())}) == tiny().n_prompts


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_ends_with_status_2(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "no NVIDIA GPU here" in capsys.readouterr().err
