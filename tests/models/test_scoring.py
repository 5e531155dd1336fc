"""Label scores and hidden states: those of transformers' own forward, whatever they are computed beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.backends.hf import HFBackend, HFKind
from harness.core.errors import HarnessError
from harness.core.judging import LabelScores
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Checkpoint, Failure, Request, Sampling, TokenRow
from harness.models import running, scoring
from harness.models.tree import tree_of
from tests.models.fixtures import FolderSink, open_backend, silent, some_rows
from tests.models.zoo import NAMES
from trainers import full, lora

STORIES = Path(__file__).parents[2].parent / "shared" / "models" / "stories260K"
# One token, several, some that begin alike, and one that goes on where another turns.
LABELS = [(21,), (22,), (40, 41), (40, 42, 43), (40, 42, 44), (50, 51, 52, 53)]
RUBRIC = tuple(range(60, 90))


def requests(n: int = 12, checkpoint: Checkpoint | None = None) -> list[Request]:
    """A long beginning that all share but the first two."""
    rows = some_rows(n, longest=30, seed=3)
    return [
        Request(row.id, row.ids if i < 2 else (*RUBRIC, *row.ids), Sampling(1), (), checkpoint)
        for i, row in enumerate(rows)
    ]


def plain(hf: HFBackend, request: Request, labels: Sequence[tuple[int, ...]]) -> list[float]:
    """By transformers alone: log_softmax at each token of prompt and label, one label a pass, nothing batched."""
    found = []
    for label in labels:
        with torch.no_grad():
            logits = hf.model.model(input_ids=torch.tensor([[*request.ids, *label]])).logits[0]
        log_probs = logits.double().log_softmax(-1)
        start = len(request.ids) - 1
        found.append(sum(float(log_probs[start + i, token]) for i, token in enumerate(label)))
    return found


def scores(
    hf: HFBackend, asked: Sequence[Request], labels: Sequence[tuple[int, ...]] = LABELS
) -> dict[str, LabelScores]:
    found = dict(hf.label_scores(asked, labels))
    assert {type(each) for each in found.values()} == {LabelScores}
    return {name: each for name, each in found.items() if isinstance(each, LabelScores)}


def assert_plain(hf: HFBackend, asked: Sequence[Request], labels: Sequence[tuple[int, ...]] = LABELS) -> None:
    found = scores(hf, asked, labels)
    assert len(found) == len(asked)
    for request in asked:
        assert_equal(found[request.id], plain(hf, request, labels), labels)


def assert_equal(found: LabelScores, expected: Sequence[float], labels: Sequence[tuple[int, ...]] = LABELS) -> None:
    """Within 1e-5 a token, a little more where a token is so improbable that its logit has no more digits."""
    for label, one, other in zip(labels, found.log_probs, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-5 * len(label), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_label_scores_are_those_of_a_plain_forward(zoo: dict[str, Path], name: str):
    assert_plain(open_backend(zoo[name]), requests())


@pytest.mark.slow
def test_label_scores_of_the_embedded_model_are_those_of_a_plain_forward(tmp_path: Path):
    hf = demo()
    labels = [spelled(hf, text) for text in ("1", "2", "excellent", "not good", "no way")]
    assert {len(label) for label in labels} == {1, 3, 4}
    rubric = "Judge the reply from one to five. " * 4
    asked = [
        Request(str(i), spelled(hf, f"{rubric}Reply {i}: {'fine ' * i}\nScore: "), Sampling(1), ()) for i in range(8)
    ]
    assert_plain(hf, asked, labels)
    checkpoint = tuned_demo(hf, tmp_path)
    tuned = [replace(request, checkpoint=checkpoint) for request in asked]
    found = scores(hf, tuned, labels)
    base = scores(hf, asked, labels)
    hf.model.switch.activate(checkpoint)
    for request in tuned:
        assert_equal(found[request.id], plain(hf, request, labels), labels)
        assert found[request.id].log_probs != pytest.approx(base[request.id].log_probs, abs=1e-3)


@pytest.mark.slow
def test_label_scores_of_a_published_model_are_those_of_a_plain_forward():
    if not STORIES.is_dir():
        pytest.skip(f"no model at {STORIES}")
    hf = open_backend(STORIES)
    labels = [spelled(hf, text) for text in (" yes", " no", " perhaps not")]
    assert len(set(map(len, labels))) > 1
    stories = ("Once upon a time there was", "Lily liked the red ball. Did Tom like it?", "The dog ran to")
    prompts = [(*hf.tokenizer.prefix_ids(), *spelled(hf, text)) for text in stories]
    assert_plain(hf, [Request(str(i), ids, Sampling(1), ()) for i, ids in enumerate(prompts)], labels)


@pytest.mark.parametrize("kind", ["adapter", "full"])
def test_label_scores_are_of_the_checkpoint_asked_for(zoo: dict[str, Path], tmp_path: Path, kind: str):
    hf = open_backend(zoo["llama3"])
    checkpoint = tuned(hf, tmp_path, kind)
    base, other = requests(4), [replace(r, id=f"{r.id}-tuned") for r in requests(4, checkpoint)]
    together = scores(hf, [request for pair in zip(base, other, strict=True) for request in pair])
    for request in base:
        assert together[request.id].log_probs == pytest.approx(plain(hf, request, LABELS), abs=1e-5)
    hf.model.switch.activate(checkpoint)
    for request in other:
        assert together[request.id].log_probs == pytest.approx(plain(hf, request, LABELS), abs=1e-5)
    assert together[base[0].id].log_probs != pytest.approx(together[other[0].id].log_probs, abs=1e-3)


@pytest.mark.parametrize("name", ["llama3", "mistral", "gemma2", "gpt2"])
@pytest.mark.parametrize("budget", [1, 150, 100_000])
def test_label_scores_do_not_depend_on_batches(zoo: dict[str, Path], name: str, budget: int):
    hf = open_backend(zoo[name], tokens_per_batch=budget)
    together = scores(hf, requests())
    for request in requests():
        alone = scores(hf, [request])[request.id]
        assert together[request.id].log_probs == pytest.approx(alone.log_probs, abs=1e-5)


def test_a_label_scores_the_same_whatever_else_is_asked(zoo: dict[str, Path]):
    hf = open_backend(zoo["llama3"])
    whole = scores(hf, requests(3))
    for place, label in enumerate(LABELS):
        for name, found in scores(hf, requests(3), [label]).items():
            assert found.log_probs[0] == pytest.approx(whole[name].log_probs[place], abs=1e-5)


def test_all_tokens_together_have_all_the_probability(zoo: dict[str, Path]):
    hf = open_backend(zoo["gpt2"])
    n_tokens = hf.model.model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    found = scores(hf, requests(2), [(token,) for token in range(n_tokens)])
    assert [each.mass for each in found.values()] == pytest.approx([1, 1], abs=1e-4)


def test_what_prompts_share_is_computed_once(zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    hf = open_backend(zoo["llama3"])
    computed: list[int] = []

    def counted(rows: list[tuple[int, ...]], device: torch.device) -> object:
        tree = tree_of(rows, device)
        computed.append(len(tree.ids))
        return tree

    monkeypatch.setattr(scoring, "tree_of", counted)
    asked = requests(12)[2:]
    scores(hf, asked, [(21,), (22,)])
    beginnings = {request.ids[:n] for request in asked for n in range(1, len(request.ids) + 1)}
    assert computed == [len(beginnings)]
    assert 2 * len(beginnings) < sum(len(request.ids) for request in asked)


def test_batches_stay_under_the_budget_and_lose_nobody(tmp_path: Path):
    checkpoint = Checkpoint(1, 1.0, tmp_path, "adapter", "aa", None, None, None, None)
    asked = [*requests(20), *(replace(r, id=f"{r.id}-tuned", checkpoint=checkpoint) for r in requests(20))]
    for as_tree in (True, False):
        for budget in (1, 300, 2_000, 10**6):
            found = list(scoring.batches(asked, LABELS, budget, as_tree=as_tree))
            assert sorted(r.id for batch in found for r in batch) == sorted(r.id for r in asked)
            for batch in found:
                assert len({request.checkpoint for request in batch}) == 1
                assert len(batch) == 1 or size(batch, as_tree=as_tree) <= budget


def size(batch: Sequence[Request], *, as_tree: bool) -> int:
    """Distinct beginnings of all rows, or places of the padded rows: a row for each way on that labels share."""
    rows = [(*request.ids, *ending) for request in batch for ending in ((40, 42), (50, 51, 52))]
    if as_tree:
        return len({row[:n] for row in rows for n in range(1, len(row) + 1)})
    return max(map(len, rows)) * len(rows)


def test_prompts_that_cannot_be_scored_fail_alone(zoo: dict[str, Path]):
    # The zoo's models see 256 tokens, and the longest label has four.
    hf = open_backend(zoo["llama3"])
    fits = Request("fits", (7,) * 252, Sampling(500), ())
    found = dict(
        hf.label_scores([replace(fits, id="long", ids=(7,) * 253), fits, replace(fits, id="none", ids=())], LABELS)
    )
    assert found["long"] == Failure("prompt", "too long for the context")
    assert found["none"] == Failure("prompt", "an empty prompt cannot be completed")
    assert isinstance(found["fits"], LabelScores)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([], "there is no label"),
        ([(1,), ()], "label 2 of 2 is empty"),
        ([(1,), (2,), (1,)], "label 1 of 3 is the same"),
        ([(1, 2), (3,), (1,)], "label 3 of 3 is the beginning"),
    ],
)
def test_labels_whose_chances_overlap_are_refused(zoo: dict[str, Path], labels: list[tuple[int, ...]], said: str):
    with pytest.raises(HarnessError, match=said) as caught:
        list(open_backend(zoo["llama3"]).label_scores(requests(1), labels))
    assert caught.value.code == "E-LABEL-TOKENS"


def test_numbers_that_are_none_are_failures(zoo: dict[str, Path]):
    hf = open_backend(zoo["gpt2"])
    with torch.no_grad():
        hf.model.model.get_input_embeddings().weight[77] = torch.nan  # type: ignore[operator]
    good, bad = requests(2)
    found = dict(hf.label_scores([replace(bad, ids=(5, 77, 6)), good], [(21,), (22,)]))
    assert found[bad.id] == Failure("judge", "log-probabilities are not finite")


@pytest.mark.parametrize("limit", [4, 1, 0])
def test_batches_are_halved_until_they_fit(zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch, limit: int):
    hf = open_backend(zoo["llama3"])
    expected, states = dict(hf.label_scores(requests(), LABELS)), dict(hf.hidden(requests()))
    freed: list[int] = []
    monkeypatch.setattr(running, "free_memory", lambda: freed.append(1))
    for name in ("score_labels", "last_states"):
        monkeypatch.setattr(scoring, name, narrow(getattr(scoring, name), limit))
    found, found_states = dict(hf.label_scores(requests(), LABELS)), dict(hf.hidden(requests()))
    assert freed
    if limit == 0:
        lacking = dict.fromkeys(expected, Failure("generate", "out of memory"))
        assert (found, found_states) == (lacking, lacking)
        return
    for request in requests():
        one, other = found[request.id], expected[request.id]
        assert isinstance(one, LabelScores)
        assert isinstance(other, LabelScores)
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-5)
        assert np.allclose(found_states[request.id], states[request.id], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_hidden_state_is_the_last_layers_at_the_last_token(zoo: dict[str, Path], name: str):
    hf = open_backend(zoo[name])
    found = dict(hf.hidden(requests()))
    for request in requests():
        with torch.no_grad():
            output = hf.model.model(input_ids=torch.tensor([request.ids]), output_hidden_states=True)
        expected = output.hidden_states[-1][0, -1].numpy()
        state = found[request.id]
        assert isinstance(state, np.ndarray)
        assert state.shape == expected.shape
        assert np.allclose(state, expected, atol=1e-5)


def test_scoring_leaves_the_base_on(zoo: dict[str, Path], tmp_path: Path):
    hf = open_backend(zoo["llama3"])
    checkpoint = tuned(hf, tmp_path, "adapter")
    before = plain(hf, requests(1)[0], LABELS)
    for ask in (lambda: hf.label_scores(requests(3, checkpoint), LABELS), lambda: hf.hidden(requests(3, checkpoint))):
        list(ask())
        assert plain(hf, requests(1)[0], LABELS) == before


def narrow(compute, limit: int):  # type: ignore[no-untyped-def]
    """Room for so many requests at once."""

    def limited(loaded: object, batch: Sequence[Request], *rest: object, **options: object) -> object:
        if len(batch) > limit:
            raise torch.OutOfMemoryError("CUDA")
        return compute(loaded, batch, *rest, **options)

    return limited


def demo() -> HFBackend:
    return HFKind().create(ModelSpec(device="cpu"), BackendSpec(), thinking=False)


def spelled(hf: HFBackend, text: str) -> tuple[int, ...]:
    return tuple(hf.tokenizer.encode(text, special=False))


def tuned_demo(hf: HFBackend, folder: Path) -> Checkpoint:
    spec = lora.LoraSpec(epochs=1, batch_rows=4, warmup=0, rank=2, lr=0.01)
    *_, checkpoint = lora.trainer.train(hf.model, some_rows(4), [], spec, FolderSink(folder), silent)
    return checkpoint


def tuned(hf: HFBackend, folder: Path, kind: str) -> Checkpoint:
    rows: list[TokenRow] = some_rows(8)
    if kind == "full":
        trained = full.trainer.train(
            hf.model, rows, [], full.FullSpec(batch_rows=4, lr=1e-2), FolderSink(folder), silent
        )
    else:
        spec = lora.LoraSpec(epochs=1, batch_rows=4, rank=4, lr=3e-2)
        trained = lora.trainer.train(hf.model, rows, [], spec, FolderSink(folder), silent)
    *_, checkpoint = trained
    return checkpoint
