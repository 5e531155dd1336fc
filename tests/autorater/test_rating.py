"""Labels become items, and every item gets a verdict or a reason."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest

from harness.autorater.rating import NO_NUMBER, NO_VERDICT, failures_of, items_of, rate
from harness.core.errors import HarnessError
from harness.core.judging import Label, Pair, Single, Verdict
from harness.core.types import Failure

LIKERT = Label("l1", "likert", "help", 4, "ann", "Why?", ("Because.",), ("base",), references=("It is so.",))
PAIR = Label("p1", "pair", "help", "tie", "ann", "Why?", ("Because.", "No."), ("base", "tuned"))


@dataclass
class Told:
    """A judge that says what it is told to, and counts what it is asked."""

    says: dict[str, Verdict | Failure]
    takes: str = "single"
    name: str = "told"

    def rate(self, items, generator):
        yield from ((item.id, self.says[item.answer]) for item in items if item.answer in self.says)


def progress(done, total, live): ...


def test_item_is_what_was_judged_once_whoever_judged_it():
    other = replace(LIKERT, id="l2", annotator="bob", value=2)
    later = replace(LIKERT, id="l3", systems=("tuned",), references=())
    assert items_of([LIKERT, other, later]) == (
        Single(LIKERT.item, LIKERT.cluster, "base", "Why?", "Because.", ("It is so.",)),
    )
    assert items_of([PAIR]) == (Pair(PAIR.item, PAIR.cluster, ("base", "tuned"), "Why?", ("Because.", "No.")),)


def test_order_of_answers_makes_another_item_of_the_same_prompt():
    turned = replace(PAIR, answers=PAIR.answers[::-1])
    items = items_of([PAIR, turned])
    assert len({item.id for item in items}) == 2
    assert len({item.cluster for item in items}) == 1


def verdict(score: float) -> Verdict:
    return Verdict(score, (score,))


@pytest.mark.parametrize(
    "bad",
    [
        verdict(math.inf),
        verdict(1.5),
        verdict(-0.1),
        Verdict(0.5, ()),
        Verdict(0.5, (math.nan,)),
        Verdict(math.nan, (math.inf,)),
    ],
)
def test_verdict_that_is_no_number_is_a_failure_not_a_score(bad: Verdict):
    assert rate(Told({"Because.": bad}), items_of([LIKERT]), None, progress) == {LIKERT.item: NO_NUMBER}


def test_verdict_without_a_score_of_its_own_is_kept_for_its_features():
    head = Verdict(math.nan, (3.0, -2.0))
    assert rate(Told({"Because.": head}), items_of([LIKERT]), None, progress)[LIKERT.item] is head


def test_silence_is_a_failure_with_a_reason():
    found = rate(Told({}), items_of([LIKERT]), None, progress)
    assert found == {LIKERT.item: NO_VERDICT}
    assert failures_of(found) == {"judge: the judge said nothing of this item": 1}


def test_failures_are_counted_by_reason_and_safe_to_show():
    outcomes = {
        "a": Failure("judge", "no\x1b[31m"),
        "b": verdict(0.5),
        "c": Failure("judge", "x"),
        "d": Failure("judge", "x"),
    }
    assert list(failures_of(outcomes).items()) == [("judge: x", 2), ("judge: no\\x1b[31m", 1)]


@pytest.mark.parametrize(("takes", "label"), [("pair", LIKERT), ("single", PAIR)])
def test_judge_of_another_kind_of_item_is_refused_before_it_is_asked(takes: str, label: Label):
    with pytest.raises(HarnessError) as error:
        rate(Told({}, takes=takes), items_of([label]), None, progress)
    assert error.value.code == "E-JUDGE"
