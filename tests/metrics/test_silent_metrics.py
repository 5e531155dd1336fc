"""What a metric does unless it is told otherwise, and in what order: the published way."""

from __future__ import annotations

import pytest
from rouge_score.rouge_scorer import RougeScorer


@pytest.mark.parametrize("name", ["rouge_1", "rouge_l"])
def test_rouge_does_not_stem_unless_asked_to(score, make, samples_of, name):
    kind = {"rouge_1": "rouge1", "rouge_l": "rougeL"}[name]
    theirs = RougeScorer([kind], use_stemmer=False).score("cats were running", "cat runs running")[kind].fmeasure
    assert theirs == pytest.approx(1 / 3)
    assert score(name, ["cat runs running"], ["cats were running"])[0] == pytest.approx(theirs)
    assert "|stem:no|" in make(name, samples_of(["x"])).signature


@pytest.mark.parametrize(
    ("out", "reference", "em"),
    [
        ("the-cat", "thecat", 1),
        ("the-cat", "cat", 0),
        ("a.cat", "cat", 0),
        ("the... cat", "cat", 1),
        ("'a' cat", "cat", 1),
    ],
)
def test_squad_removes_punctuation_first_and_articles_then(score, out, reference, em):
    """evaluate-v1.1.py: white_space_fix(remove_articles(remove_punc(lower(s))))."""
    assert score("squad_em", [out], [reference])[0] == em
