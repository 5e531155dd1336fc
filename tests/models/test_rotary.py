"""Models that compute a whole call otherwise for one long row: what a row gets never depends on its neighbours."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from harness.backends.hf import HFBackend
from harness.core.judging import LabelScores
from harness.core.types import Completion, Failure, Request, Sampling, TokenRow
from harness.models.batching import sides
from harness.models.endings import continuation_text
from harness.models.rotary import switches_at
from tests.models.fixtures import open_backend
from tests.models.zoo import LONG
from trainers.batches import micro_batches
from trainers.loop import accumulate

# Tokens of prompts: of a model that switches behind 32, some are short to the end, some grow long, some are long.
LENGTHS = (5, 9, 24, 25, 28, 31, 32, 33, 34, 60)


@pytest.fixture(scope="module")
def hf(zoo: dict[str, Path]) -> HFBackend:
    return open_backend(zoo[LONG])


def requests(sampling: Sampling) -> list[Request]:
    return [Request(str(n), tuple(10 + (7 * i + n) % 300 for i in range(n)), sampling, ()) for n in LENGTHS]


def test_the_zoos_model_is_one_that_switches(hf: HFBackend):
    """Or nothing here would show anything: what comes behind a short row moves with a long one beside it."""
    short = torch.tensor([[20, 21, 22, 23, 24]])
    with torch.no_grad():
        alone = hf.model.model(short).logits[0]  # type: ignore[operator]
        positions = torch.arange(40)[None]
        both = torch.nn.functional.pad(short, (0, 35)).repeat(2, 1)
        beside = hf.model.model(both, position_ids=positions).logits[0, :5]  # type: ignore[operator]
    assert float((alone - beside).abs().max()) > 0.1


@pytest.mark.parametrize("budget", [1, 100, 100_000])
def test_completions_are_those_of_whole_rows_alone(zoo: dict[str, Path], hf: HFBackend, budget: int):
    """Each token from all before it at once: transformers' own `generate` goes on with keys of the other factors."""
    asked = requests(Sampling(8))
    found = dict(open_backend(zoo[LONG], tokens_per_batch=budget).generate(asked))
    for request in asked:
        ids = list(request.ids)
        for _ in range(8):
            with torch.no_grad():
                ids.append(int(hf.model.model(torch.tensor([ids])).logits[0, -1].argmax()))  # type: ignore[operator]
        text = continuation_text(hf.tokenizer, request.ids, ids[len(request.ids) :])
        assert found[request.id] == Completion(text, "length", 8), request.id


def test_label_scores_and_states_are_those_of_each_row_alone(zoo: dict[str, Path]):
    asked, labels = requests(Sampling(1)), [(20,), (21, 30)]
    together, alone = open_backend(zoo[LONG]), open_backend(zoo[LONG], tokens_per_batch=1)
    expected = dict(alone.label_scores(asked, labels))
    for name, scores in together.label_scores(asked, labels):
        assert isinstance(scores, LabelScores)
        assert scores.log_probs == pytest.approx(expected[name].log_probs, abs=2e-5)  # type: ignore[union-attr]
    states = dict(alone.hidden(asked))
    for name, state in together.hidden(asked):
        assert not isinstance(state, Failure)
        assert state == pytest.approx(states[name], abs=1e-4)


def test_short_rows_alone_keep_the_fast_ways(hf: HFBackend):
    from harness.models.tree import computes_trees

    assert computes_trees(hf.model.model, hf.model.device, 32)
    assert not computes_trees(hf.model.model, hf.model.device, 33)


def test_a_training_step_has_the_gradient_of_its_rows_one_by_one(zoo: dict[str, Path]):
    model = open_backend(zoo[LONG]).model.model.requires_grad_(True)
    rows = [TokenRow(r.id, r.ids, (False, *(True,) * (len(r.ids) - 1))) for r in requests(Sampling(1))]

    def gradient(tokens_per_batch: int) -> Tensor:
        model.zero_grad()
        options = {"device": torch.device("cpu"), "precision": nullcontext(), "as_tree": False}
        accumulate(model, rows, tokens_per_batch, backward=lambda loss: loss.backward(), **options)  # type: ignore[arg-type]
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    one_by_one, whole = gradient(1), gradient(10**6)
    assert float((one_by_one - whole).norm() / one_by_one.norm()) < 1e-5


def test_no_batch_of_training_rows_has_both_sides():
    rows = [TokenRow(str(n), (1,) * n, (True,) * n) for n in LENGTHS]
    batches = [sorted(len(row.ids) for row in batch) for batch in micro_batches(rows, 10**6, 32)]
    assert batches == [[33, 34, 60], [5, 9, 24, 25, 28, 31, 32]]
    assert len(micro_batches(rows, 10**6)) == 1


def test_requests_whose_answers_may_grow_past_the_switch_travel_alone():
    asked = requests(Sampling(8))
    assert [[r.id for r in side] for side in sides(asked, 32)] == [
        ["33", "34", "60"],
        ["5", "9", "24"],
        *(["25"], ["28"], ["31"], ["32"]),
    ]
    assert sides(asked, None) == [asked]
    assert [[r.id for r in side] for side in sides([replace(asked[0], sampling=Sampling(27))], 32)] == [[], ["5"]]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 32}}, 32),
        ({"rope_scaling": {"type": "longrope"}, "original_max_position_embeddings": 48}, 48),
        ({"rope_parameters": {"full_attention": {"rope_type": "dynamic", "factor": 2.0}}}, 256),
        ({"rope_parameters": {"rope_type": "yarn", "original_max_position_embeddings": 32}}, None),
        ({"rope_parameters": None}, None),
        ({}, None),
    ],
)
def test_where_a_model_switches_is_read_from_its_settings(settings: dict[str, object], expected: int | None):
    config = SimpleNamespace(max_position_embeddings=256, **settings)
    assert switches_at(SimpleNamespace(config=config)) == expected
