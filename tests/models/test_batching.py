"""Which requests travel together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.core.types import Checkpoint, Request, Sampling
from harness.models.batching import Pool, pools
from tests.models.fixtures import some_rows


def request(name: str, ids: tuple[int, ...], most: int = 4) -> Request:
    return Request(name, ids, Sampling(most), ())


def several(prefix: tuple[int, ...], n: int, name: str) -> list[Request]:
    """Requests that share a prefix; behind it, the first token differs."""
    return [request(f"{name}-{i}", (*prefix, 1000 + i, *row.ids)) for i, row in enumerate(some_rows(n))]


def names(pool: Pool) -> set[str]:
    return {each.id for each in pool.requests}


def in_bytes(pool: Pool) -> int:
    return pool.n_prefix + pool.n_rows * pool.width


MIXED = [replace(r, sampling=Sampling(5 + i % 9)) for i, r in enumerate(several((), 60, "a"))]
A, B = tuple(range(100, 200)), tuple(range(200, 300))
ONE = Checkpoint(1, 1.0, Path(), "adapter", "ab", None, None, None, None)


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize("budget", [1, 100, 1000, 10**6])
def test_pools_stay_under_the_budget_and_lose_nobody(budget: int, shares: bool):
    lonely = replace(request("e", A), checkpoint=ONE)
    asked = [*MIXED, *several(A, 20, "b"), *several(B, 3, "c"), request("d", A), lonely]
    found = list(pools(asked, budget, shares=shares))
    assert sorted(each.id for pool in found for each in pool.requests) == sorted(each.id for each in asked)
    for pool in found:
        assert pool.width == max(len(r.ids) - pool.n_prefix + r.sampling.max_tokens for r in pool.requests)
        assert pool.n_rows == 1 or in_bytes(pool) <= budget


def test_the_longest_of_a_pool_come_first():
    for pool in pools(MIXED, 500, shares=True):
        lengths = [len(each.ids) for each in pool.requests]
        assert lengths == sorted(lengths, reverse=True)


def test_those_with_a_common_beginning_travel_together():
    found = list(pools([*several(A, 20, "a"), *several((), 20, "c"), *several(B, 20, "b")], 10**5, shares=True))
    by_prefix = {pool.requests[0].ids[: pool.n_prefix]: names(pool) for pool in found}
    assert {prefix: len(members) for prefix, members in by_prefix.items()} == {A: 20, B: 20, (): 20}
    assert all(name.startswith("a-") for name in by_prefix[A])


def test_a_beginning_within_a_beginning_is_kept_where_many_have_it():
    found = list(pools([*several((*A, *B), 30, "both"), *several(A, 30, "one")], 10**5, shares=True))
    assert sorted(pool.n_prefix for pool in found) == [100, 200]


def test_few_with_more_in_common_stay_with_the_others():
    found = list(pools([*several((*A, *range(300, 340)), 2, "more"), *several(A, 30, "a")], 10**5, shares=True))
    assert [(pool.n_prefix, len(pool.requests)) for pool in found] == [(100, 32)]


def test_every_prompt_keeps_a_token_of_its_own():
    twins = [request(str(i), A) for i in range(5)]
    (pool,) = pools(twins, 10**5, shares=True)
    assert pool.n_prefix == len(A) - 1


def test_a_conversation_of_many_turns_loses_nobody():
    turns = [request(str(i), tuple(range(40 * (i + 1)))) for i in range(300)]
    found = list(pools(turns, 10**5, shares=True))
    assert sum(len(pool.requests) for pool in found) == 300


def test_nothing_is_shared_where_it_cannot_be():
    assert {pool.n_prefix for pool in pools(several(A, 20, "a"), 10**5, shares=False)} == {0}


def test_short_beginnings_are_not_kept_apart():
    (pool,) = pools(several(A[:10], 20, "a"), 10**5, shares=True)
    assert pool.n_prefix == 0


def test_checkpoints_do_not_mix():
    asked = several(A, 20, "a")
    found = list(pools([*asked, *(replace(r, id=f"on-{r.id}", checkpoint=ONE) for r in asked)], 10**5, shares=True))
    assert [{each.checkpoint for each in pool.requests} for pool in found] == [{None}, {ONE}]


def test_much_narrower_requests_have_a_pool_of_their_own():
    wide = [request(f"wide-{i}", tuple(range(i, i + 900))) for i in range(20)]
    narrow = [request(f"narrow-{i}", tuple(range(i + 5000, i + 5050))) for i in range(20)]
    found = list(pools([*narrow, *wide], 4000, shares=True))
    assert [(len(pool.requests), pool.n_rows) for pool in found] == [(20, 4), (20, 74)]


def test_a_few_narrower_requests_take_the_places_of_those_that_end():
    """By themselves they would run, after the others' last and longest, as many steps again with few rows."""
    wide = [request(f"wide-{i}", tuple(range(i, i + 900))) for i in range(20)]
    narrow = [request(f"narrow-{i}", tuple(range(i + 5000, i + 5050))) for i in range(7)]
    found = list(pools([*narrow, *wide], 4000, shares=True))
    assert [(len(pool.requests), pool.n_rows) for pool in found] == [(27, 4)]
