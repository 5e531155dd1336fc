"""SQuAD, BLEU, chrF and ROUGE against their reference implementations."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sacrebleu
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

WORDS = ["the", "a", "cat", "sat", "on", "mat", ".", "U.S.", "3,000", "don't", "Über", "naïve", "狗", "running", "runs"]
texts = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
corpora = st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1, max_size=6)


def streams(references):
    """sacrebleu's shape: the i-th references of all samples, None where there are fewer."""
    most = max(map(len, references))
    return [[refs[i] if i < len(refs) else None for refs in references] for i in range(most)]


def measured(make, samples_of, name, corpus, **options):
    completions, references = [c for c, _ in corpus], [r for _, r in corpus]
    samples = samples_of(references)
    metric = make(name, samples, **options)
    statistics = metric.measure(samples, completions)
    return completions, references, metric, statistics


# The fixtures only hand out functions, so hypothesis may share them between examples.
shared = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@shared
@given(corpus=corpora, smooth=st.sampled_from(["exp", "floor", "add-k", "none"]), lowercase=st.booleans())
def test_bleu_equals_sacrebleu(make, samples_of, corpus, smooth, lowercase):
    outs, refs, metric, statistics = measured(
        make, samples_of, "bleu", corpus, smooth=smooth, lowercase=lowercase, tokenize="13a"
    )
    theirs = sacrebleu.corpus_bleu(outs, streams(refs), smooth_method=smooth, lowercase=lowercase).score
    ours = float(metric.value(statistics.sum(0)))
    if statistics[:, :2].sum() == 0:
        assert np.isnan(ours)
        assert theirs == 0
    else:
        assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-12)
    for row, out, references in zip(statistics, outs, refs, strict=True):
        segment = float(metric.per_sample(row[None])[0])
        sentence = sacrebleu.sentence_bleu(out, references, smooth_method=smooth, lowercase=lowercase).score
        assert np.isnan(segment) or segment == pytest.approx(sentence, rel=1e-12, abs=1e-12)


@shared
@given(corpus=corpora, word_order=st.sampled_from([0, 2]), lowercase=st.booleans())
def test_chrf_equals_sacrebleu(make, samples_of, corpus, word_order, lowercase):
    outs, refs, metric, statistics = measured(
        make, samples_of, "chrf", corpus, word_order=word_order, lowercase=lowercase
    )
    theirs = CHRF(word_order=word_order, lowercase=lowercase)
    expected = theirs.corpus_score(outs, streams(refs)).score
    ours = float(metric.value(statistics.sum(0)))
    if statistics.sum() == 0:
        assert np.isnan(ours)
        assert expected == 0
    else:
        assert ours == pytest.approx(expected, rel=1e-12, abs=1e-12)
    for row, out, references in zip(statistics, outs, refs, strict=True):
        segment = float(metric.per_sample(row[None])[0])
        assert np.isnan(segment) or segment == pytest.approx(theirs.sentence_score(out, references).score, rel=1e-12)


def test_undefined_is_only_where_there_is_nothing_to_compare(score):
    for name in ("bleu", "chrf"):
        assert np.isnan(score(name, [""], [""])[0])
        assert score(name, [""], ["a cat sat on the mat"])[0] == 0
        assert score(name, ["dog"], ["xyz uvw"])[0] == 0
    assert score("bleu", ["dog"], [""])[0] == 0
    assert np.isnan(score("chrf", ["dog"], [""])[0])


@pytest.mark.parametrize("refs", [[("a b",), ("c",)], [("a b",), ("c", "d")]])
def test_signatures_are_sacrebleus(make, samples_of, refs):
    for name, theirs in (("bleu", BLEU(force=True)), ("chrf", CHRF())):
        theirs.corpus_score(["a", "c"], streams(refs))
        ours = make(name, samples_of(refs)).signature
        assert str(theirs.get_signature()) in ours


def test_value_of_averaged_draws_is_defined_and_between(make, samples_of):
    """Draws of a few-shot arm are averaged per sample, so statistics need not be whole numbers."""
    samples = samples_of(["the cat sat on the mat"])
    metric = make("bleu", samples)
    one, other = metric.measure(samples, ["the cat sat on the mat"]), metric.measure(samples, ["the cat sat on a mat"])
    assert metric.value(other[0]) < metric.value((one + other)[0] / 2) < metric.value(one[0])


def e2e(folder, name):
    """Predictions line by line; references in blocks of several lines with an empty line between."""
    blocks = (folder / "e2e" / "e2e_ref.txt").read_text(encoding="utf-8").strip("\n").split("\n\n")
    outs = (folder / "e2e" / name).read_text(encoding="utf-8").split("\n")[: len(blocks)]
    return outs, [tuple(block.split("\n")) for block in blocks]


def test_bleu_of_real_outputs_equals_the_official_e2e_script(score, metric_checks):
    expected = json.loads((metric_checks / "expected.json").read_text())["e2e"]["scores"]
    for name, scores in expected.items():
        outs, refs = e2e(metric_checks, name)
        ours = score("bleu", outs, refs, tokenize="13a", lowercase=True, smooth="none")[0]
        assert ours / 100 == pytest.approx(scores["BLEU"], abs=5e-5), name


def test_rouge_of_googles_own_fixture_equals_rouge_155(score, metric_checks):
    truth = json.loads((metric_checks / "expected.json").read_text())["rouge"]
    outs = (metric_checks / "rouge" / "prediction.txt").read_text().splitlines()
    refs = (metric_checks / "rouge" / "target.txt").read_text().splitlines()
    for name, key, stem in [
        ("rouge_1", "rouge1", False),
        ("rouge_1", "rouge1_stem", True),
        ("rouge_2", "rouge2", False),
        ("rouge_l", "rougeL", False),
    ]:
        ours = score(name, outs, refs, use_stemmer=stem)[1]
        assert ours == pytest.approx([row["F"] for row in truth[key]], abs=1e-5)


@pytest.mark.parametrize(
    ("name", "kind"), [("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL"), ("rouge_lsum", "rougeLsum")]
)
@shared
@given(corpus=corpora, stem=st.booleans())
def test_rouge_equals_rouge_score(make, samples_of, name, kind, corpus, stem):
    corpus = [(out.replace(" . ", "\n"), [r.replace(" . ", "\n") for r in refs]) for out, refs in corpus]
    outs, refs, metric, statistics = measured(make, samples_of, name, corpus, use_stemmer=stem, tokenize="ascii")
    scorer = RougeScorer([kind], use_stemmer=stem)
    theirs = [scorer.score_multi(r, out)[kind].fmeasure for out, r in zip(outs, refs, strict=True)]
    assert metric.per_sample(statistics) == pytest.approx(theirs, abs=1e-12)
    assert float(metric.value(statistics.sum(0))) == pytest.approx(np.mean(theirs), abs=1e-12)


def test_lsum_needs_line_breaks_and_l_ignores_them(score):
    """google-research issue 168: 39.2 against 30.2 on the same outputs."""
    out, ref = "one two\nthree four", "three four\none two"
    assert score("rouge_lsum", [out], [ref])[0] == 1.0
    assert score("rouge_l", [out], [ref])[0] == 0.5
    assert score("rouge_lsum", [out.replace("\n", " ")], [ref.replace("\n", " ")])[0] == 0.5


def test_rouge_as_published_is_zero_in_other_scripts_and_says_so(score, make, samples_of):
    assert score("rouge_l", ["狗在垫子上"], ["狗在垫子上"], tokenize="ascii")[0] == 0
    metric = make("rouge_l", samples_of(["狗"]), tokenize="ascii")
    assert "tokens:a-z0-9|" in metric.signature
    assert "every letter but a to z" in metric.caveats[0]


@pytest.mark.parametrize("name", ["rouge_1", "rouge_2", "rouge_l", "rouge_lsum"])
def test_rouge_empty_cases(score, name):
    assert [score(name, [out], [ref])[0] for out, ref in [("", "a b"), ("a b", ""), ("", "")]] == [0, 0, 0]


@pytest.mark.parametrize(
    ("out", "refs", "em", "f1"),
    [
        ("Denver Broncos", ["Denver Broncos"], 1, 1),
        ("the denver broncos!", ["Denver Broncos"], 1, 1),
        ("Broncos", ["Denver Broncos"], 0, 2 / 3),
        ("in the year 1998", ["1998"], 0, 0.5),  # tokens in, year, 1998: precision 1/3, recall 1
        ("x x y", ["x y y"], 0, 2 / 3),  # with multiplicity: x and one y in common
        ("1998", ["1999", "1998"], 1, 1),
        ("Carolina", ["Denver Broncos"], 0, 0),
        ("A", ["a"], 1, 1),  # both normalise to nothing: right
        ("The", ["a"], 1, 1),
        ("word", ["The"], 0, 0),  # UltraRAG issue 509 scored any answer 1
        ("", ["word"], 0, 0),
        ("", [""], 1, 1),
        ("..", ["The", "word"], 1, 1),
    ],
)
def test_squad_by_hand(score, out, refs, em, f1):
    assert score("squad_em", [out], [refs])[0] == em
    assert score("squad_f1", [out], [refs])[0] == pytest.approx(f1)


def official_f1(prediction, truth):
    """f1_score of SQuAD's evaluate-v1.1.py, as published."""
    import re
    import string
    from collections import Counter

    def tokens(s):
        s = "".join(ch for ch in s.lower() if ch not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split()).split()

    predicted, wanted = tokens(prediction), tokens(truth)
    n_same = sum((Counter(predicted) & Counter(wanted)).values())
    if n_same == 0:
        return 0
    precision, recall = n_same / len(predicted), n_same / len(wanted)
    return 2 * precision * recall / (precision + recall)


@shared
@given(out=texts, ref=texts)
def test_squad_f1_equals_the_official_script_except_where_both_are_nothing(score, out, ref):
    from harness.metrics.squad import squad_normalise

    ours = score("squad_f1", [out], [ref])[0]
    both_nothing = squad_normalise(out) == squad_normalise(ref) == ""
    assert ours == (1.0 if both_nothing else pytest.approx(official_f1(out, ref), abs=1e-12))


@given(st.text())
def test_squad_normalisation_is_idempotent(text):
    from harness.metrics.squad import squad_normalise

    assert squad_normalise(squad_normalise(text)) == squad_normalise(text)
