"""Answers are only ever taken from the cache for the very question: same model, checkpoint, tokenizer and decoding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.backends.fake import WEIGHTS, FakeBackend, FakeTokenizer
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Candidate, Checkpoint, Message, Sample, Sampling
from harness.pipeline.prepare import Prepared
from harness.store.run import RunFolder
from tests.pipeline.test_generate import Counting, generation

SAMPLES = [Sample(f"s{i}", "test", (Message("user", f"word {i}"),), ("x",)) for i in range(6)]


def checkpoint(folder: Path, skill: float) -> Checkpoint:
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_text(f'{{"skill": {skill}}}')
    return Checkpoint(4, 1.0, folder, "adapter", f"{skill:.6f}", None, None, None, None)


def n_asked(
    runs: Path,
    name: str,
    candidate: Candidate,
    change: Callable[[Counting], None] = lambda _: None,
    sampling: Sampling | None = None,
) -> int:
    """How many samples a fresh run beside the others asks its backend."""
    backend = Counting()
    change(backend)
    # What a prepared run would say of this backend.
    generator = Prepared.generator.fget(SimpleNamespace(backend=backend))  # type: ignore[attr-defined]
    with RunFolder(runs / name) as folder:
        asked = replace(generation(folder, backend, sampling), generator=generator)
        asked.generate([candidate], "test", SAMPLES)
    return len(backend.asked)


def test_the_same_question_is_asked_once(tmp_path: Path) -> None:
    tuned = Candidate("step-000004", checkpoint=checkpoint(tmp_path / "c", 0.5))
    for candidate in (Candidate("base-0shot"), tuned):
        assert n_asked(tmp_path / "runs", f"first-{candidate.name}", candidate) == len(SAMPLES)
        assert n_asked(tmp_path / "runs", f"again-{candidate.name}", candidate) == 0


def test_a_checkpoint_never_gets_the_bases_answers_nor_anothers(tmp_path: Path) -> None:
    one, other = checkpoint(tmp_path / "a", 0.5), checkpoint(tmp_path / "b", 0.6)
    assert one.name == other.name
    for name, found in (("base", None), ("one", one), ("other", other)):
        assert n_asked(tmp_path / "runs", name, Candidate("same name", checkpoint=found)) == len(SAMPLES)


def another_model(backend: Counting) -> None:
    backend.identity = {**backend.identity, "model": "other"}


def another_dtype(backend: Counting) -> None:
    backend.identity = {**backend.identity, "dtype": "bfloat16"}


def another_tokenizer(backend: Counting) -> None:
    backend.tokenizer = FakeTokenizer()
    backend.tokenizer.sha256 = "0" * 64


def other_options(backend: Counting) -> None:
    backend.identity = FakeBackend(ModelSpec(name="fake"), BackendSpec(name="fake", options={"limit": 9000})).identity


@pytest.mark.parametrize("change", [another_model, another_dtype, another_tokenizer, other_options])
def test_another_model_dtype_or_tokenizer_is_asked_anew(tmp_path: Path, change: Callable[[Counting], None]) -> None:
    base = Candidate("base-0shot")
    n_asked(tmp_path / "runs", "first", base)
    assert n_asked(tmp_path / "runs", "second", base, change) == len(SAMPLES)


@pytest.mark.parametrize(
    "other", [{"temperature": 0.7}, {"seed": 1}, {"stop": ("x",)}, {"max_tokens": 33}, {"repetition_penalty": 1.1}]
)
def test_other_decoding_is_asked_anew(tmp_path: Path, other: dict[str, object]) -> None:
    base, sampling = Candidate("base-0shot"), Sampling(max_tokens=32)
    n_asked(tmp_path / "runs", "first", base, sampling=sampling)
    changed = replace(sampling, **other)  # type: ignore[arg-type]
    assert n_asked(tmp_path / "runs", "second", base, sampling=changed) == len(SAMPLES)
