"""A race over checkpoints on validation: who goes on, what that is expected to cost, and that it adds up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, stats

from harness.stats import racing
from harness.stats.racing import Race


def run(metric, by_step, *, clusters=None, seed=0, n_rounds=None):
    """The whole race over scores by step; standings after every round."""
    n = len(next(iter(by_step.values())))
    race = Race.plan(n, clusters, seed=seed)
    standings = [race.start(list(by_step))]
    for number in range(1, (n_rounds or len(race.rounds)) + 1):
        seen = list(race.seen(number))
        statistics = {step: by_step[step][seen] for step in standings[-1].kept}
        inside = None if clusters is None else [clusters[i] for i in seen]
        standings.append(race.keep(standings[-1], number, metric, statistics, clusters=inside))
    return race, standings


def test_every_sample_is_in_one_round_and_rounds_depend_on_the_seed_alone():
    race, again, other = Race.plan(200, None, seed=1), Race.plan(200, None, seed=1), Race.plan(200, None, seed=2)
    assert sorted(place for places in race.rounds for place in places) == list(range(200))
    assert [len(places) for places in race.rounds] == [25, 25, 25, 25, 50, 50]
    assert race == again
    assert race.rounds != other.rounds
    assert race.seen(2) == tuple(sorted((*race.rounds[0], *race.rounds[1])))


def test_a_cluster_is_never_cut():
    clusters = [f"g{i % 40}" for i in range(200)]
    race = Race.plan(200, clusters, seed=0)
    where = {}
    for number, places in enumerate(race.rounds):
        for place in places:
            assert where.setdefault(clusters[place], number) == number
    assert len(race.rounds) > 2
    assert len(race.rounds[0]) >= 5 * racing.LEAST_CLUSTERS


def test_a_handful_of_samples_is_no_race():
    assert Race.plan(10, None, seed=0).rounds == (tuple(range(10)),)
    assert Race.plan(200, [str(i // 50) for i in range(200)], seed=0).rounds == (tuple(range(200)),)


def test_hopeless_checkpoints_go_at_the_first_look_and_never_more_than_half_at_once(toy, as_mean, rng):
    hard = rng.random(200)
    by_step = {step: as_mean(hard + 0.1 * step + rng.normal(0, 0.01, 200)) for step in range(1, 9)}
    _, standings = run(toy(), by_step)
    assert [standing.kept for standing in standings[:4]] == [tuple(range(1, 9)), (5, 6, 7, 8), (7, 8), (8,)]
    assert standings[-1].seen == {1: 1, 2: 1, 3: 1, 4: 1, 5: 2, 6: 2, 7: 3}
    assert standings[-1].spent == pytest.approx(0, abs=1e-3)


def test_the_share_of_the_generations_by_hand(toy, as_mean, rng):
    by_step = {step: as_mean(rng.normal(step, 0.01, 200)) for step in range(1, 5)}
    race, standings = run(toy(), by_step)
    # Of 200 samples: 25, 25, 50 and 200 by the four checkpoints, worst first.
    assert standings[-1].seen == {1: 1, 2: 1, 3: 2}
    assert race.share(standings[-1]) == pytest.approx((25 + 25 + 50 + 200) / 800)
    assert race.share(standings[0]) == 1


def test_lower_is_better_keeps_the_lowest(toy, as_mean, rng):
    by_step = {step: as_mean(rng.normal(step, 0.01, 200)) for step in range(1, 5)}
    assert run(toy(higher_is_better=False), by_step)[1][-1].kept == (1,)


def test_two_that_cannot_be_told_apart_yet_both_go_on(toy, as_mean, rng):
    by_step = {1: as_mean(rng.normal(0, 1, 400)), 2: as_mean(rng.normal(0, 1, 400))}
    assert run(toy(), by_step, n_rounds=1)[1][-1].kept == (1, 2)


def test_the_last_round_drops_nobody(toy, as_mean, rng):
    by_step = {1: as_mean(rng.normal(0, 1, 400)), 2: as_mean(rng.normal(9, 1, 400))}
    race = Race.plan(400, None, seed=0)
    standing = race.start([1, 2])
    assert race.keep(standing, len(race.rounds), toy(), by_step, clusters=None) == standing


def test_where_somebody_has_no_score_nobody_goes(toy, as_mean, rng):
    by_step = {1: np.zeros((200, 2)), 2: as_mean(rng.random(200)), 3: as_mean(rng.random(200) + 9)}
    assert run(toy(), by_step)[1][-1].kept == (1, 2, 3)


def test_it_works_on_sums_not_on_means_of_samples(toy):
    """Right by tokens, of lengths that differ: step 2 is better by the ratio of sums, worse by the mean of ratios."""
    rng = np.random.default_rng(1)
    lengths = np.where(rng.random(400) < 0.5, 1.0, 99.0)
    good = np.where(lengths == 1, 1.0, 0.5 * lengths)
    other = np.where(lengths == 1, 0.0, 0.8 * lengths)
    by_step = {1: np.column_stack([good, lengths]), 2: np.column_stack([other, lengths])}
    assert by_step[1][:, 0].mean() < by_step[2][:, 0].mean()
    assert (good / lengths).mean() > (other / lengths).mean()
    assert run(toy(), by_step)[1][-1].kept == (2,)


def test_noise_is_that_of_the_mean_and_of_whole_clusters(toy, as_mean):
    """Two checkpoints whose difference varies by cluster: variance of the mean of 40 cluster means, by hand."""
    rng = np.random.default_rng(4)
    clusters = [str(i // 10) for i in range(400)]
    by_cluster = rng.normal(0, 1, 40)
    stack = np.stack([as_mean(rng.random(400)) for _ in range(2)])
    stack[1, :, 0] = stack[0, :, 0] + np.repeat(by_cluster, 10)
    expected = by_cluster.var(ddof=1) / 40
    totals = np.stack([racing.cluster_totals(one, clusters) for one in stack])
    _, noise = racing._measured(toy(), totals)
    # Two imagined clusters of 42 are of independent noise of the same size: it has the same difference here.
    assert noise[0, 0] + noise[1, 1] - 2 * noise[0, 1] == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize(("difference", "share"), [(0.0, 0.25), (1.0, 0.25), (-2.0, 0.5), (3.0, 0.5)])
def test_expected_cost_of_keeping_one_of_two_by_numerical_integration(monkeypatch, difference, share):
    """True difference d ~ N(0, 2) as each quality varies by 1, measured with variance 1 / share in units of its final
    standard error: what everything would choose in the end, over the posterior of d."""
    monkeypatch.setattr(racing, "SPREADS", (1.0,))
    monkeypatch.setattr(racing, "N_DRAWS", 400_000)
    noise = np.eye(2) / (2 * share)
    order, costs = racing._costs(np.array([difference, 0.0]), noise, share, np.random.default_rng(0))
    variance = 1 / (1 / 2 + share)
    lead = abs(difference)
    posterior = stats.norm(variance * share * lead, np.sqrt(variance))

    def lost(d):
        seen = (share * lead + (1 - share) * d) / np.sqrt(1 - share)
        return -d * stats.norm.cdf(-seen) * posterior.pdf(d)

    assert costs[0] == pytest.approx(integrate.quad(lost, -15, 15)[0], abs=0.005)
    assert costs[1] == 0
    if difference:
        assert order[0] == (0 if difference > 0 else 1)


def test_nobody_goes_where_nothing_has_told_them_apart_yet(toy, as_mean, rng):
    scores = as_mean(rng.random(200))
    _, standings = run(toy(), dict.fromkeys(range(1, 5), scores))
    assert standings[-1].kept == (1, 2, 3, 4)
    assert standings[-1].spent == 0


def test_a_checkpoint_that_alone_is_sometimes_right_wins_the_race(toy, as_mean):
    """None of the first samples is right for anybody: the first round says nothing of who is best."""
    found = []
    for seed in range(60):
        right = np.random.default_rng(seed).random(100) < 0.1
        _, standings = run(toy(), {1: as_mean(np.zeros(100)), 2: as_mean(np.zeros(100)), 3: as_mean(right * 1.0)})
        found.append(3 in standings[-1].kept)
    assert all(found)


def test_who_has_spent_everything_drops_nobody_at_a_cost(toy, as_mean, rng):
    by_step = {step: as_mean(rng.normal(0, 1, 400)) for step in range(1, 7)}
    race = Race.plan(400, None, seed=0)
    seen = list(race.seen(1))
    statistics = {step: rows[seen] for step, rows in by_step.items()}
    poor = replace(race.start(list(by_step)), spent=racing.ALLOWANCE)
    standing = race.keep(poor, 1, toy(), statistics, clusters=None)
    assert standing.kept == tuple(by_step)
    assert standing.spent == racing.ALLOWANCE


def test_repeats_within_a_cluster_say_no_more_than_one_of_them(toy, as_mean, rng):
    """Each cluster's score five times over: the race goes as it does over one sample a cluster."""
    for spread in (0.2, 0.5):
        own = {step: as_mean(rng.normal(spread * step, 1, 120)) for step in range(1, 7)}
        repeated = {step: np.repeat(rows, 5, axis=0) for step, rows in own.items()}
        clusters = [str(i // 5) for i in range(600)]
        alone = Race(((*range(30),), (*range(30, 120),)), 120, 0)
        together = Race(((*range(150),), (*range(150, 600),)), 120, 0)
        first = alone.keep(alone.start(list(own)), 1, toy(), {s: r[:30] for s, r in own.items()}, clusters=None)
        parts = {step: rows[:150] for step, rows in repeated.items()}
        second = together.keep(together.start(list(own)), 1, toy(), parts, clusters=clusters[:150])
        assert (second.kept, second.seen) == (first.kept, first.seen)
        assert second.spent == pytest.approx(first.spent)
