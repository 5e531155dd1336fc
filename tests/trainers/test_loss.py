"""The loss without logits: that of PyTorch's cross-entropy in double precision, in memory that knows no vocabulary."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from harness.models import loss as module
from harness.models.loss import Projection, projection_of, summed_loss
from tests.models.fixtures import open_backend, some_rows
from tests.models.zoo import NAMES
from trainers.loop import accumulate

CPU = torch.device("cpu")
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 307,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}


def random_head(n_words: int, *, bias: bool, dtype: torch.dtype = torch.float32) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        head = nn.Linear(24, n_words, bias=bias)
        nn.init.normal_(head.weight)
    return head.to(dtype)


def some_states(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(n, 24, generator=generator), torch.randint(0, 301, (n,), generator=generator)


def relative(found: Tensor | None, expected: Tensor | None) -> float:
    assert found is not None
    assert expected is not None
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("portion", [2**23, 301 * 4 * 5, 1], ids=["whole", "in portions", "one by one"])
@pytest.mark.parametrize(("scale", "cap"), [(1.0, None), (0.25, None), (1.0, 4.0), (0.5, 3.0)])
@pytest.mark.parametrize("bias", [True, False])
def test_loss_and_gradients_are_those_of_cross_entropy_in_double_precision(
    monkeypatch: pytest.MonkeyPatch, portion: int, scale: float, cap: float | None, bias: bool
):
    monkeypatch.setitem(module._PORTION, "cpu", portion)
    states, targets = some_states(23)
    head, exact = random_head(301, bias=bias), random_head(301, bias=bias).double()
    ours, theirs = states.requires_grad_(), states.detach().double().requires_grad_()

    found, n_correct = summed_loss(Projection(head, scale, cap), ours, targets)
    (found / 7).backward()
    logits = exact(theirs) * scale
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    expected = cross_entropy(logits, targets, reduction="sum")
    (expected / 7).backward()

    assert found.item() == pytest.approx(float(expected), rel=1e-6)
    assert n_correct == int((logits.argmax(-1) == targets).sum())
    assert relative(ours.grad, theirs.grad) < 1e-6
    for one, other in zip(head.parameters(), exact.parameters(), strict=True):
        assert relative(one.grad, other.grad) < 1e-6


def test_a_frozen_output_layer_gets_no_gradient_and_the_states_get_theirs():
    states, targets = some_states(9)
    head = random_head(301, bias=True).requires_grad_(False)
    found, _ = summed_loss(Projection(head), states.requires_grad_(), targets)
    found.backward()
    assert states.grad is not None
    assert all(parameter.grad is None for parameter in head.parameters())


def test_bfloat16_products_are_as_close_as_those_of_the_usual_way():
    states, targets = some_states(40)
    head = random_head(301, bias=False)
    exact = states.double().requires_grad_()
    cross_entropy(head.double()(exact), targets, reduction="sum").backward()
    head.float()
    errors = []
    for ours in (True, False):
        x = states.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            loss = (
                summed_loss(Projection(head), x, targets)[0]
                if ours
                else cross_entropy(head(x).float(), targets, reduction="sum")
            )
        loss.backward()
        errors.append(relative(x.grad, exact.grad))
    assert errors[0] < 1.2 * errors[1] < 0.05


# Names and formulas of scale and cap: the architectures' own modelling files in transformers.
@pytest.mark.parametrize(
    ("config", "options", "scale", "cap"),
    [
        ("LlamaConfig", {}, 1, None),
        ("Gemma2Config", {"final_logit_softcapping": 3.0, "head_dim": 8}, 1, 3.0),
        ("Gemma3TextConfig", {"final_logit_softcapping": 30.0, "head_dim": 8}, 1, 30.0),
        ("GraniteConfig", {"logits_scaling": 6.0}, 1 / 6, None),
        ("CohereConfig", {"logit_scale": 0.0625}, 0.0625, None),
    ],
)
def test_what_a_model_makes_of_its_logits_is_found(
    config: str, options: dict[str, object], scale: float, cap: float | None
):
    kind = getattr(transformers, config)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(kind(**SIZES | options))
    found = projection_of(model, CPU)
    assert found is not None
    assert found.scale == pytest.approx(scale, rel=1e-6)
    assert found.cap == (cap if cap is None else pytest.approx(cap, rel=1e-6))


def test_a_model_that_forbids_a_word_keeps_its_own_logits(zoo: dict[str, Path]):
    model = open_backend(zoo["llama3"]).model.model
    assert projection_of(model, CPU) is not None

    def forbid(_: nn.Module, arguments: object, output: Any) -> None:
        output.logits[..., 17] = -math.inf

    model.register_forward_hook(forbid)
    assert projection_of(model, CPU) is None


@pytest.mark.parametrize("name", NAMES)
def test_rows_lose_and_pull_the_same_as_by_whole_logits(zoo: dict[str, Path], name: str):
    model = open_backend(zoo[name]).model.model.requires_grad_(True)
    projection = projection_of(model, CPU)
    assert projection is not None

    def result(used: Projection | None) -> tuple[float, int, Tensor]:
        model.zero_grad()
        figures = accumulate(
            model,
            some_rows(7),
            100,
            device=CPU,
            precision=nullcontext(),
            as_tree=False,
            backward=lambda loss: loss.backward(),
            projection=used,
        )
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        return figures.loss, figures.n_correct, gradient

    (loss, n_correct, gradient), (expected, n_expected, wanted) = result(projection), result(None)
    assert (loss, n_correct) == (pytest.approx(expected, rel=1e-6), n_expected)
    assert relative(gradient, wanted) < 1e-5


class _Largest(TorchDispatchMode):
    """The most elements that a tensor made meanwhile has, other than views of one that was there before."""

    def __init__(self, there: Tensor) -> None:
        super().__init__()
        self.n = 0
        self._there = there.untyped_storage().data_ptr()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else [found]:
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() != self._there:
                self.n = max(self.n, tensor.numel())
        return found


@pytest.mark.parametrize("n_words", [4_000, 64_000])
def test_no_tensor_is_larger_than_a_portion_whatever_the_vocabulary(monkeypatch: pytest.MonkeyPatch, n_words: int):
    monkeypatch.setitem(module._PORTION, "cpu", 4 * 64_000)
    states, targets = some_states(64)
    head = random_head(n_words, bias=False).requires_grad_(False)
    with _Largest(head.weight) as seen:
        summed_loss(Projection(head), states.requires_grad_(), targets)[0].backward()
    assert n_words < seen.n <= 64_000 or n_words == seen.n == 64_000


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_of_half_precision_logits_are_summed_in_full_precision(dtype: torch.dtype):
    head = random_head(301, bias=False, dtype=dtype)
    states, targets = some_states(400)
    logits = nn.functional.linear(states.to(dtype), head.weight)
    found, _ = summed_loss(Projection(head), states.to(dtype), targets)
    assert found.dtype == torch.float32
    assert relative(found.detach(), cross_entropy(logits.detach().double(), targets, reduction="sum")) < 1e-6
