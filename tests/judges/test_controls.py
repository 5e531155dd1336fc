"""Judges that anybody could have: the length of an answer, and a metric."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from harness.core.errors import HarnessError
from harness.core.judging import Pair, Single, Verdict
from harness.core.protocols import JudgeContext
from harness.core.types import Failure
from judges.length import kind as length
from judges.length import pair_verdict, single_verdict
from judges.reference import NO_REFERENCE, kind, scaled


def context(label_kind="likert", **options) -> JudgeContext:
    return JudgeContext("control", "help", "", label_kind, 5, options, Path())


def single(answer: str, *references: str, id: str = "a") -> Single:
    return Single(id, "q", "base", "Why?", answer, references)


def rated(judge, *items):
    return dict(judge.rate(items, None))


def test_longer_answer_scores_higher_and_an_empty_one_nothing():
    scores = [rated(length.create(context()), single("x" * n))["a"].score for n in (0, 10, 100, 10_000)]
    assert scores == sorted(scores)
    assert (scores[0], scores[-1] < 1) == (0, True)


def test_length_can_be_calibrated_to_an_ideal_length():
    # Squares of the logarithm: a best length in the middle is a parabola in it.
    lengths = np.array([5, 20, 80, 320, 1280])
    features = np.array([single_verdict(int(n)).features for n in lengths])
    assert features[:, 1] == pytest.approx(np.log1p(lengths) ** 2)


def test_of_a_pair_the_longer_one_wins_whichever_comes_first():
    pair = Pair("p", "q", ("a", "b"), "Why?", ("long answer", "short"))
    forth, back = pair_verdict(pair), pair_verdict(pair.swapped)
    assert forth.score > 0.5
    assert forth.score + back.score == pytest.approx(1)
    assert pair_verdict(Pair("p", "q", ("a", "b"), "Why?", ("", ""))).score == 0.5


def test_length_has_no_options():
    with pytest.raises(HarnessError) as error:
        length.create(context(half=3))
    assert error.value.code == "E-OPTION"


def test_metric_judges_each_answer_by_its_own_score():
    from sacrebleu import sentence_chrf

    judge = kind.create(context(metric="chrf"))
    found = rated(judge, single("the cat sat", "the cat sat down"), single("no", "yes", id="b"))
    assert found["a"].score == pytest.approx(sentence_chrf("the cat sat", ["the cat sat down"]).score / 100)
    assert found["b"].score < found["a"].score


def test_metric_where_lower_is_better_is_turned_round():
    judge = kind.create(context(metric="cer"))
    found = rated(judge, single("abcd", "abcd"), single("abxx", "abcd", id="b"), single("x" * 40, "abcd", id="c"))
    assert [found[each].score for each in "abc"] == [1.0, 0.5, 0.0]


def test_pair_is_judged_by_the_difference_and_turns_with_the_pair():
    judge = kind.create(context("pair", metric="exact_match"))
    pair = Pair("p", "q", ("a", "b"), "Why?", ("yes", "no"), ("yes",))
    assert rated(judge, pair)["p"].score == 1.0
    assert rated(judge, pair.swapped)["p"].score == 0.0


def test_without_a_right_answer_there_is_no_verdict():
    judge = kind.create(context(metric="rouge_l"))
    found = rated(judge, single("text"), single("text", "text", id="b"))
    assert found["a"] == NO_REFERENCE
    assert found["b"] == Verdict(1.0, (1.0,))
    assert rated(judge, single("text")) == {"a": NO_REFERENCE}


def test_score_that_is_undefined_is_a_failure():
    judge = kind.create(context(metric="chrf"))
    assert isinstance(rated(judge, single("text", " "))["a"], Failure)
    assert math.isnan(float(scaled(np.array([np.nan]), worst=0, best=1)[0]))


@pytest.mark.parametrize(
    ("options", "code"),
    [({}, "E-OPTION"), ({"metric": "rouge_l", "x": 1}, "E-OPTION"), ({"metric": "rouge_ll"}, "E-UNKNOWN")],
)
def test_wrong_options_are_refused_when_the_judge_is_made(options, code):
    with pytest.raises(HarnessError) as error:
        kind.create(context(**options))
    assert error.value.code == code


def test_metric_of_whole_sets_cannot_judge_single_answers(tmp_path: Path):
    (tmp_path / "own.py").write_text(
        "class Whole:\n"
        "    name = signature = 'whole'\n    higher_is_better, best, worst = True, 1.0, 0.0\n"
        "    def score(self, samples, completions):\n        return 0.5\n\n"
        "def create(context):\n    return Whole()\n"
    )
    judge = kind.create(JudgeContext("c", "help", "", "likert", 5, {"metric": "own.py:create"}, tmp_path))
    with pytest.raises(HarnessError) as error:
        rated(judge, single("text", "text"))
    assert error.value.code == "E-OPTION"


def test_identity_holds_the_bytes_of_a_metric_of_ones_own(tmp_path: Path):
    file = tmp_path / "own.py"
    identities = []
    for body in ("1.0", "0.5"):
        file.write_text(f"def score(completion, references):\n    return {body}\n")
        made = kind.create(JudgeContext("c", "help", "", "likert", 5, {"metric": "own.py:score"}, tmp_path))
        identities.append(made.identity)
    assert identities[0] != identities[1]
