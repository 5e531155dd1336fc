"""From label probabilities to verdicts: expected numbers are worked out by hand, beside each test."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from harness import registry
from harness.core.errors import HarnessError
from harness.core.judging import LabelScores, Verdict
from harness.core.types import Failure
from judges.asking import expected
from judges.head import kind as head
from judges.likert import kind as likert
from judges.pairwise import kind as pairwise
from judges.pass_fail import kind as pass_fail
from judges.rubric import kind as rubric
from tests.judges.doubles import RuledGenerator, context, pair, single


def only(verdicts: Sequence[tuple[str, Verdict | Failure]]) -> Verdict:
    ((_, verdict),) = verdicts
    assert isinstance(verdict, Verdict)
    return verdict


def test_likert_is_the_mean_of_the_scale_under_the_labels_shares() -> None:
    """Shares of .1 .2 .4 .2 .1 over .5 of all: values .1 .2 .3 .. -> mean (0+.25*.2+.5*.4+.75*.2+.1) = .5,
    variance .1*.25+.2*.0625+0+.2*.0625+.1*.25 = .075."""
    generator = RuledGenerator(lambda prompt, labels: [0.05, 0.1, 0.2, 0.1, 0.05])
    verdict = only(list(likert.create(context()).rate([single(0, "fine")], generator)))
    assert verdict.score == pytest.approx(0.5)
    assert verdict.spread == pytest.approx(0.075)
    assert verdict.label_mass == pytest.approx(0.5)
    assert verdict.features == (verdict.score,)
    assert verdict.orders is None


def test_likert_of_a_scale_of_three_asks_for_three_labels() -> None:
    """.25 at 2 (worth .5) and .75 at 3 (worth 1): .875."""
    generator = RuledGenerator(lambda prompt, labels: [{"1": 0.0, "2": 0.2, "3": 0.6}[label] for label in labels])
    assert only(list(likert.create(context(scale=3)).rate([single(0, "x")], generator))).score == pytest.approx(0.875)


def test_pass_fail_is_the_share_of_yes() -> None:
    """.3 of yes against .1 of no: .75, variance .75 * .25."""
    generator = RuledGenerator(lambda prompt, labels: [{"yes": 0.3, "no": 0.1}[label] for label in labels])
    verdict = only(list(pass_fail.create(context("pass_fail")).rate([single(0, "fine")], generator)))
    assert verdict.score == pytest.approx(0.75)
    assert verdict.spread == pytest.approx(0.1875)
    assert verdict.label_mass == pytest.approx(0.4)


def test_a_pair_is_asked_in_both_orders_and_a_tie_counts_half() -> None:
    """First shown first: A .6, B .2, C .2 -> .7. Second shown first: A .5, B .3, C .2 -> .4 for the first answer."""

    def rule(prompt: str, labels: Sequence[str]) -> list[float]:
        forth = prompt.index('"one"') < prompt.index('"two"')
        shares = {"A": 0.6, "B": 0.2, "C": 0.2} if forth else {"A": 0.5, "B": 0.3, "C": 0.2}
        return [shares[label] for label in labels]

    verdict = only(list(pairwise.create(context("pair")).rate([pair(0, "one", "two")], RuledGenerator(rule))))
    assert verdict.orders == pytest.approx((0.7, 0.4))
    assert verdict.score == pytest.approx(0.55)


def test_a_judge_that_only_likes_the_first_place_finds_every_pair_equal() -> None:
    generator = RuledGenerator(lambda prompt, labels: [{"A": 0.9, "B": 0.05, "C": 0.05}[label] for label in labels])
    verdict = only(list(pairwise.create(context("pair")).rate([pair(0, "one", "two")], generator)))
    assert verdict.score == pytest.approx(0.5)
    assert verdict.orders == pytest.approx((0.925, 0.075))


def test_swapping_a_pair_turns_the_score_round() -> None:
    def rule(prompt: str, labels: Sequence[str]) -> list[float]:
        likes_a = 0.8 if prompt.index('"one"') < prompt.index('"two"') else 0.3
        return [{"A": likes_a, "B": 1 - likes_a, "C": 0.0}[label] for label in labels]

    judge = pairwise.create(context("pair"))
    forth = only(list(judge.rate([pair(0, "one", "two")], RuledGenerator(rule))))
    back = only(list(judge.rate([pair(0, "two", "one")], RuledGenerator(rule))))
    assert forth.score == pytest.approx(1 - back.score)


def test_a_rubric_asks_every_question_and_keeps_every_answer() -> None:
    """yes .8 of .8 -> 1.0; 1-4 evenly on 2 and 3 -> (1/3 + 2/3) / 2 = .5; mean .75; variance (0 + 1/36) / 4."""

    def rule(prompt: str, labels: Sequence[str]) -> list[float]:
        if "Is it right?" in prompt.rpartition("</answer")[2]:
            return [{"1": 0.0, "2": 0.4, "3": 0.4, "4": 0.0}[label] for label in labels]
        return [{"yes": 0.8, "no": 0.0}[label] for label in labels]

    judge = rubric.create(context(rubric="Be fair.\n- Is it polite?\n- Is it right? (1-4)\n"))
    verdict = only(list(judge.rate([single(0, "fine")], RuledGenerator(rule))))
    assert verdict.features == pytest.approx((1.0, 0.5))
    assert verdict.score == pytest.approx(0.75)
    assert verdict.spread == pytest.approx(1 / 36 / 4)


def test_questions_may_stand_in_the_options() -> None:
    judge = rubric.create(context(rubric="- not asked", questions=["Is it short?"]))
    generator = RuledGenerator(lambda prompt, labels: [0.5, 0.5])
    assert only(list(judge.rate([single(0, "x")], generator))).features == pytest.approx((0.5,))
    assert generator.prompts[0].endswith("Is it short? Reply yes or no, nothing else.<|end|><|assistant|>")


@pytest.mark.parametrize("text", ["no list at all", "", "- \n"])
def test_a_rubric_without_questions_is_refused(text: str) -> None:
    with pytest.raises(HarnessError, match="asks 1 to 40 questions") as caught:
        rubric.create(context(rubric=text))
    assert caught.value.code == "E-OPTION"


def test_a_head_gives_the_inner_state_and_no_score() -> None:
    generator = RuledGenerator(lambda prompt, labels: [], lambda prompt: [float("fine" in prompt), 2.0])
    verdict = only(list(head.create(context()).rate([single(0, "fine")], generator)))
    assert verdict.features == (1.0, 2.0)
    assert math.isnan(verdict.score)


def test_a_heads_features_change_sign_with_the_pair() -> None:
    generator = RuledGenerator(lambda p, labels: [], lambda prompt: [float(prompt.index('"one"')), 1.0])
    judge = head.create(context("pair"))
    forth = only(list(judge.rate([pair(0, "one", "two")], generator)))
    back = only(list(judge.rate([pair(0, "two", "one")], generator)))
    assert forth.features == tuple(-each for each in back.features)
    assert forth.features[0] != 0
    assert forth.features[1] == 0


def test_a_state_that_is_no_number_is_a_failure() -> None:
    generator = RuledGenerator(lambda prompt, labels: [], lambda prompt: [math.nan])
    assert list(head.create(context()).rate([single(0, "x")], generator)) == [
        ("item-0", Failure("judge", "the model's inner state is not finite"))
    ]


KINDS = {"likert": likert, "pass_fail": pass_fail, "rubric": rubric}


@pytest.mark.parametrize("name", KINDS)
def test_a_failure_is_one_items_failure_and_no_score(name: str) -> None:
    away = Failure("generate", "the machine is away")

    def rule(prompt: str, labels: Sequence[str]) -> list[float] | Failure:
        return away if "bad luck" in prompt else [1 / len(labels)] * len(labels)

    judge = KINDS[name].create(context(rubric="- Good?\n- Right? (1-4)"))
    found = dict(judge.rate([single(0, "fine"), single(1, "bad luck"), single(2, "fine")], RuledGenerator(rule)))
    assert found["item-1"] == away
    assert isinstance(found["item-0"], Verdict)
    assert isinstance(found["item-2"], Verdict)


def test_a_pair_that_fails_in_either_order_is_a_failure() -> None:
    away = Failure("generate", "the machine is away")

    def rule(prompt: str, labels: Sequence[str]) -> list[float] | Failure:
        return [1 / 3] * 3 if prompt.index('"one"') < prompt.index('"two"') else away

    judge = pairwise.create(context("pair"))
    assert dict(judge.rate([pair(0, "one", "two"), pair(1, "two", "one")], RuledGenerator(rule))) == {
        "item-0": away,
        "item-1": away,
    }


@pytest.mark.parametrize("log_probs", [(-math.inf, -math.inf), (math.nan, -1.0)])
def test_labels_without_any_probability_are_a_failure(log_probs: tuple[float, ...]) -> None:
    assert expected(LabelScores(log_probs), (0.0, 1.0)) == Failure("judge", "no label has any probability")


def test_labels_that_are_very_unlikely_still_have_shares() -> None:
    """exp(-2000) is no float; e against 1 is .731."""
    found = expected(LabelScores((-2000.0, -2001.0)), (1.0, 0.0))
    assert not isinstance(found, Failure)
    assert found.mean == pytest.approx(0.7310585786)
    assert found.mass == 0.0


@pytest.mark.parametrize("name", ["likert", "pass_fail", "rubric"])
def test_a_judge_of_single_answers_cannot_answer_to_pairs(name: str) -> None:
    with pytest.raises(HarnessError, match="not of pair") as caught:
        KINDS[name].create(context("pair", rubric="- Good?"))
    assert caught.value.code == "E-OPTION"


def test_every_mistake_in_the_options_is_named() -> None:
    with pytest.raises(HarnessError, match="its options are wrong") as caught:
        likert.create(context(max_characters=0, colour="red"))
    assert [detail.partition(":")[0] for detail in caught.value.details] == ["max_characters", "colour"]
    assert "it knows: max_characters, references" in caught.value.fix


def test_identity_changes_with_all_that_decides_a_verdict_and_with_nothing_else() -> None:
    plain = likert.create(context()).identity
    others = [
        context(rubric="other"),
        context(scale=4),
        context(references=False),
        context(max_characters=10),
    ]
    assert len({str(likert.create(each).identity) for each in others} | {str(plain)}) == 5
    renamed = context()
    assert likert.create(renamed).identity == plain


def test_the_scale_can_be_named_from_the_other_end() -> None:
    generator = RuledGenerator(lambda prompt, labels: [1 / len(labels)] * len(labels))
    for judge, item, forth, back in (
        (likert.create(context()), single(0, "x"), "from 1 (worst) to 5 (best)", "from 5 (best) to 1 (worst)"),
        (pass_fail.create(context()), single(0, "x"), "Reply yes or no", "Reply no or yes"),
        (pairwise.create(context("pair")), pair(0, "x", "y"), "Reply A if", "Reply C if"),
        (rubric.create(context(rubric="- Ok? (1-4)")), single(0, "x"), "from 1 (not", "from 4 (fully"),
    ):
        for each, text in ((judge, forth), (judge.reversed(), back)):  # type: ignore[attr-defined]
            generator.prompts.clear()
            assert all(isinstance(verdict, Verdict) for _, verdict in each.rate([item], generator))
            assert text in generator.prompts[0]


def test_right_answers_are_shown_unless_told_otherwise() -> None:
    generator = RuledGenerator(lambda prompt, labels: [0.2] * 5)
    list(likert.create(context()).rate([single(0, "x", "the right answer")], generator))
    list(likert.create(context(references=False)).rate([single(0, "x", "the right answer")], generator))
    assert ["the right answer" in prompt for prompt in generator.prompts] == [True, False]


def test_a_judge_given_the_wrong_kind_of_item_says_so() -> None:
    generator = RuledGenerator(lambda prompt, labels: [0.2] * 5)
    with pytest.raises(ValueError, match="was given a pair"):
        list(likert.create(context()).rate([pair(0, "x", "y")], generator))
    with pytest.raises(ValueError, match="was given a single answer"):
        list(pairwise.create(context("pair")).rate([single(0, "x")], generator))


def test_many_items_come_in_their_order() -> None:
    def rule(prompt: str, labels: Sequence[str]) -> list[float]:
        share = int(prompt.rpartition('"answer ')[2].partition('"')[0]) / 3000
        return [share, 1 - share]

    items = [single(number, f"answer {number}") for number in range(2500)]
    found = list(pass_fail.create(context("pass_fail")).rate(items, RuledGenerator(rule)))
    assert [key for key, _ in found] == [item.id for item in items]
    assert [verdict.score for _, verdict in found if isinstance(verdict, Verdict)] == pytest.approx(
        [number / 3000 for number in range(2500)]
    )


def test_the_kinds_are_found_by_name() -> None:
    found = [registry.load("judges", name) for name in ("likert", "pass_fail", "pairwise", "rubric", "head")]
    assert found == [likert, pass_fail, pairwise, rubric, head]
