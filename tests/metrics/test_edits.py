"""Edit distances, TER and lengths, by nltk, sacrebleu and hand."""

from __future__ import annotations

import numpy as np
import pytest
import sacrebleu
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nltk.metrics import edit_distance
from sacrebleu.metrics import TER

from harness.core.errors import HarnessError

shared = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = ["the", "cat", "sat", "on", "a", "mat", ".", "Über", "don't", "3,000"]
texts = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
pairs = st.lists(st.tuples(texts, texts), min_size=1, max_size=5)


@shared
@given(pairs)
def test_error_rates_equal_sums_of_nltks_distances(score, pairs):
    outs, refs = [out for out, _ in pairs], [ref for _, ref in pairs]
    for name, split in (("cer", list), ("wer", str.split)):
        edits = sum(edit_distance(split(out), split(ref)) for out, ref in pairs)
        length = sum(len(split(ref)) for ref in refs)
        expected = edits / length if length else (1.0 if edits else np.nan)
        assert score(name, outs, refs)[0] == pytest.approx(expected, nan_ok=True)


@shared
@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), min_size=1, max_size=5))
def test_edit_distance_lies_between_0_and_1_and_does_not_depend_on_direction(score, pairs):
    outs, refs = [out for out, _ in pairs], [ref for _, ref in pairs]
    value, rows = score("edit_distance", outs, refs)
    assert np.isnan(value) or 0 <= value <= 1
    assert score("edit_distance", refs, outs)[1] == rows
    assert all((row == 0) == (out.strip() == ref.strip()) for row, (out, ref) in zip(rows, pairs, strict=True))


def test_rates_by_hand(score):
    # kitten to sitting: 3 edits; 7 letters are wanted, 7 is the longer length.
    assert score("cer", ["kitten"], ["sitting"])[0] == pytest.approx(3 / 7)
    assert score("edit_distance", ["kitten", ""], ["sitting", "abc"])[0] == pytest.approx((3 + 3) / (7 + 3))
    assert score("wer", ["the cat sat"], ["the cat"])[0] == 0.5
    assert score("cer", ["abcdefgh"], ["ab"])[0] == 3  # a rambling answer costs more than silence
    assert score("edit_distance", ["abcdefgh"], ["ab"])[0] == 0.75
    assert score("cer", ["ABC"], ["abc"], normalise=["case"])[0] == 0


@pytest.mark.parametrize("name", ["cer", "wer", "edit_distance", "ter"])
def test_nothing_to_compare(score, name):
    worst = 100 if name == "ter" else 1
    assert score(name, ["word"], [""]) == (worst, [worst])
    assert score(name, [""], ["word"]) == (worst, [worst])
    value, rows = score(name, [""], [""])
    assert np.isnan(value)
    assert rows == [0]


def test_the_best_reference_counts(score):
    assert score("cer", ["abc"], [("xyz", "abcd", "ab")])[0] == 0.25


def test_characters_are_words_where_words_are_not_spaced(score):
    assert score("wer", ["狗在地上"], ["狗在垫上"])[0] == 0.25
    assert score("wer", ["いぬ です"], ["ねこ です"])[0] == 0.5
    assert score("ter", ["狗在地上"], ["狗在垫上"])[0] == 25


def streams(references):
    most = max(map(len, references))
    return [[refs[i] if i < len(refs) else None for refs in references] for i in range(most)]


@shared
@given(
    st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1, max_size=5),
    st.fixed_dictionaries({k: st.booleans() for k in ("normalized", "no_punct", "asian_support", "case_sensitive")}),
)
def test_ter_equals_sacrebleu(make, samples_of, corpus, options):
    outs, refs = [out for out, _ in corpus], [refs for _, refs in corpus]
    samples = samples_of(refs)
    metric = make("ter", samples, **options)
    statistics = metric.measure(samples, outs)
    theirs = TER(**options)
    expected = theirs.corpus_score(outs, streams(refs)).score
    ours = float(metric.value(statistics.sum(0)))
    assert ours == pytest.approx(expected, rel=1e-12) or (np.isnan(ours) and expected == 0)
    for row, out, references in zip(metric.per_sample(statistics), outs, refs, strict=True):
        assert row == pytest.approx(theirs.sentence_score(out, references).score, rel=1e-12)


def test_ters_signature_is_sacrebleus(make, samples_of):
    theirs = TER()
    theirs.corpus_score(["a"], [["b"]])
    assert str(theirs.get_signature()) in make("ter", samples_of(["b"])).signature
    assert float(sacrebleu.corpus_ter(["a b"], [["b a"]]).score) == 50  # one shift, two words


def test_length_ratio_by_hand(make, samples_of):
    samples = samples_of(["a b c d", "a b", "a b", ""])
    metric = make("length_ratio", samples)
    statistics = metric.measure(samples, ["a b", "a b c d e", "x y", ""])
    assert metric.per_sample(statistics).tolist() == [0.5, 0.4, 1, 1]
    totals = statistics.sum(0)
    assert float(metric.value(totals)) == pytest.approx(2.9 / 4)
    found = {part.metric.name: float(part.metric.value(totals[list(part.columns)])) for part in metric.parts()}
    assert found == {"surplus length": 3 / 8, "missing length": 2 / 8}


def test_length_in_characters_and_with_the_nearest_reference(score):
    assert score("length_ratio", ["abcd"], [("ab", "abcde")], unit="characters")[0] == 0.8
    assert score("length_ratio", ["狗在"], ["狗在垫上"])[0] == 0.5


@pytest.mark.parametrize(
    ("text", "options", "inside"),
    [
        ("a b c", {"min": 3, "max": 3}, 1),
        ("a b", {"min": 3, "max": 9}, 0),
        ("a b", {"min": 0, "max": 1}, 0),
        ("", {"min": 1, "max": 9}, 0),
        ("", {"min": 0, "max": 0}, 1),
        (" abc ", {"min": 0, "max": 3, "unit": "characters"}, 1),
        ("狗在垫上", {"min": 4, "max": 4}, 1),
    ],
)
def test_length_within_table(score, text, options, inside):
    assert score("length_within", [text], ["anything"], **options)[0] == inside


@pytest.mark.parametrize("options", [{"min": 0, "max": None}, {"min": 3, "max": 2}, {"min": -1, "max": 2}])
def test_limits_that_cannot_be_meant_are_refused(make, samples_of, options):
    with pytest.raises(HarnessError) as caught:
        make("length_within", samples_of(["a"]), **options)
    assert caught.value.code == "E-OPTION"
