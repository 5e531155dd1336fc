"""Cutting: exact without groups, never through a group or a repeated question, independent of order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from harness.core.types import Message, Sample, Split
from harness.data import Dataset
from harness.data.fold import fold
from harness.data.split import assign

SHARES: dict[Split, float] = {"test": 0.2, "validation": 0.1}


def sample(number: int, question: str, group: str | None = None) -> Sample:
    return Sample(str(number), "train", (Message("user", question),), ("a",), group=group)


def test_sizes_are_exact_without_groups_and_repeats():
    splits = assign([sample(n, f"q{n}") for n in range(1000)], SHARES, seed=0)
    assert Counter(splits) == {"train": 700, "test": 200, "validation": 100}


def test_another_seed_cuts_otherwise():
    samples = [sample(n, f"q{n}") for n in range(100)]
    assert assign(samples, SHARES, seed=0) != assign(samples, SHARES, seed=1)


rows = st.lists(
    st.tuples(st.sampled_from(["one", "One!", "two", "3", "four", "five"]), st.sampled_from([None, "x", "y", "z"])),
    min_size=1,
    max_size=40,
)


@given(rows, st.integers(0, 5))
def test_groups_and_repeated_questions_are_never_cut(rows: list[tuple[str, str | None]], seed: int):
    samples = [sample(n, question, group) for n, (question, group) in enumerate(rows)]
    split_of = dict(zip((row.id for row in samples), assign(samples, SHARES, seed=seed), strict=True))
    for key in (lambda row: fold(row.question), lambda row: row.group or row.id):
        homes: dict[str, set[str]] = {}
        for row in samples:
            homes.setdefault(key(row), set()).add(split_of[row.id])
        assert all(len(home) == 1 for home in homes.values())


@given(rows, st.randoms(use_true_random=False))
def test_cut_does_not_depend_on_the_order_of_rows(rows: list[tuple[str, str | None]], rng: random.Random):
    samples = [sample(n, question, group) for n, (question, group) in enumerate(rows)]
    shuffled = rng.sample(samples, len(samples))

    def cut(order: list[Sample]) -> dict[str, Split]:
        return dict(zip((row.id for row in order), assign(order, SHARES, seed=3), strict=True))

    assert cut(samples) == cut(shuffled)


def test_groups_end_up_near_the_wanted_sizes():
    samples = [sample(n, f"q{n}", f"g{n // 7}") for n in range(1001)]
    sizes = Counter(assign(samples, SHARES, seed=0))
    assert abs(sizes["test"] - 200) <= 4
    assert abs(sizes["validation"] - 100) <= 4


def test_every_split_gets_something_when_there_are_blocks_enough():
    samples = [sample(n, f"q{n}", f"g{n // 50}") for n in range(150)]
    assert set(assign(samples, SHARES, seed=0)) == {"train", "validation", "test"}


def test_source_is_cut_into_three(read_rows: Callable[..., Dataset]):
    dataset = read_rows(*({"prompt": f"q{n}", "completion": "a"} for n in range(50)))
    assert dataset.record.n_samples == {"train": 40, "validation": 5, "test": 5}
    assert [sample.split for sample in dataset.samples] == ["train"] * 40 + ["validation"] * 5 + ["test"] * 5


def test_validation_is_cut_from_train_when_it_has_no_file(read_train: Callable[..., Dataset]):
    rows = b"".join(b'{"prompt": "q%d", "completion": "a"}\n' % n for n in range(20))
    assert read_train(rows).record.n_samples == {"train": 18, "validation": 2, "test": 1}
