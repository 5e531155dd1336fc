"""Which samples a page shows when it cannot show all."""

import dataclasses

from reports.samples import Key, choose, viewer
from tests.reports.view import view


def keys(n: int) -> list[Key]:
    return [
        Key(i, "worse" if i < 10 else "better" if i >= n - 10 else "same", float(i - n // 2), f"{i:04x}", 10)
        for i in range(n)
    ]


def test_few_samples_are_all_shown():
    assert {key.index for key in choose(keys(40))} == set(range(40))


def test_sampling_takes_from_worst_best_changed_and_by_hash():
    taken = {key.index for key in choose(keys(1000), most=100)}
    assert len(taken) == 100
    assert set(range(20)) <= taken
    assert set(range(980, 1000)) <= taken


def test_sampling_does_not_depend_on_chance():
    assert choose(keys(500), most=50) == choose(keys(500), most=50)


def test_byte_budget_bounds_the_page():
    assert len(choose(keys(1000), most_bytes=505)) == 50


def test_samples_without_an_answer_follow_the_regressions():
    found = viewer(view())
    order = list(dict.fromkeys(found.statuses))
    assert order == [status for status in ("worse", "failed", "different", "same", "better") if status in order]
    assert found.statuses.count("failed") == len([row for row in view().rows if row.failures])


def test_lower_is_better_metric_turns_the_order_round():
    run = view()
    turned = dataclasses.replace(run.result, primary="perplexity")
    # perplexity is 9 - 5 x rouge_l in these rows, so the order is the same one
    assert viewer(dataclasses.replace(run, result=turned)).statuses == viewer(run).statuses


def test_run_without_a_tuned_arm_calls_no_sample_failed():
    run = view(10)
    records = tuple(record for record in run.result.evaluations if record.arm == "base-4shot")
    result = dataclasses.replace(run.result, evaluations=records, comparisons=())
    assert set(viewer(dataclasses.replace(run, result=result)).statuses) == {"same"}
