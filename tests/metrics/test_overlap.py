"""What ROUGE and BLEU count on hostile text, against rouge-score and sacrebleu: equal, not almost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rouge_score import rouge_scorer
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from harness.metrics import overlap
from harness.metrics.bleu import N_STATISTICS

# Few symbols, so that texts share much in many orders; line breaks of all kinds, controls, a lone surrogate.
HOSTILE = [
    "a",
    "b",
    "aa",
    "A",
    "1",
    "1,5",
    "Ⅷ",
    "İ",
    "ß",
    "狗",
    "é",
    "-",
    ".",
    "&amp;",
    "<skipped>",
    "\ud800",
    "running",
]
GAPS = [" ", " ", "\n", "\r", "\x0b", "\x1c", "\x85", "\u2028", "\u00a0", "", "\x00"]
hostile = st.lists(st.tuples(st.sampled_from(HOSTILE), st.sampled_from(GAPS)), max_size=25).map(
    lambda pairs: "".join(word + gap for word, gap in pairs)
)
anything = st.one_of(hostile, st.text(max_size=40))
tokens = st.lists(st.sampled_from("abcd"), max_size=18)
shared = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(
    ("name", "kind"), [("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL"), ("rouge_lsum", "rougeLsum")]
)
@shared
@given(out=anything, refs=st.lists(anything, min_size=1, max_size=3), stem=st.booleans())
def test_rouge_is_rouge_scores_to_the_last_bit(make, samples_of, name, kind, out, refs, stem):
    samples = samples_of([refs])
    ours = make(name, samples, use_stemmer=stem, tokenize="ascii").measure(samples, [out])
    theirs = RougeScorer([kind], use_stemmer=stem).score_multi(refs, out)[kind].fmeasure
    assert ours.tolist() == [[theirs, 1.0]]


@pytest.mark.parametrize("tokenize", ["13a", "intl", "char", "zh", "none"])
@shared
@given(corpus=st.lists(st.tuples(anything, st.lists(anything, min_size=1, max_size=3)), min_size=1, max_size=4))
def test_bleu_statistics_are_sacrebleus(make, samples_of, tokenize, corpus):
    outs, refs = [out for out, _ in corpus], [refs for _, refs in corpus]
    samples = samples_of(refs)
    ours = make("bleu", samples, tokenize=tokenize).measure(samples, outs)
    scorer = BLEU(tokenize=tokenize, force=True)
    most = max(map(len, refs))
    streams = [[each[i] if i < len(each) else None for each in refs] for i in range(most)]
    theirs = np.array(scorer._extract_corpus_statistics(outs, streams), dtype=float)
    assert theirs.shape[1] == N_STATISTICS
    assert ours.tolist() == theirs.tolist()


@shared
@given(line=tokens, other=tokens)
def test_the_shared_subsequence_is_the_one_rouge_score_reads_out(line, other):
    ours = overlap._shared_places(line, other, overlap._places(other))
    assert sorted(ours) == rouge_scorer.lcs_ind(line, other)


def test_longer_than_a_machine_word():
    """Bits of 64 and more, where a count of columns could go wrong."""
    rng = np.random.default_rng(0)
    for n in (63, 64, 65, 200):
        line, other = (rng.choice(list("abcdef"), n).tolist() for _ in range(2))
        assert sorted(overlap._shared_places(line, other, overlap._places(other))) == rouge_scorer.lcs_ind(line, other)


def test_rouge_without_stems_loads_no_language_toolkit():
    import subprocess
    import sys

    check = (
        "import sys; from harness.core.types import Sample; from harness.metrics.context import MetricContext;"
        "from harness.metrics.rouge import create_l; s = [Sample('1', 'test', (), ('a b',))];"
        "print(create_l(MetricContext('rouge_l', s, {})).measure(s, ['b']).tolist(), 'nltk' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.split("]] ") == ["[[0.6666666666666666, 1.0", "False\n"]


@pytest.mark.parametrize("word_order", [0, 2])
@shared
@given(
    corpus=st.lists(st.tuples(anything, st.lists(anything, min_size=1, max_size=3)), max_size=4),
    lowercase=st.booleans(),
)
def test_chrf_statistics_are_sacrebleus(make, samples_of, word_order, corpus, lowercase):
    outs, refs = [out for out, _ in corpus], [refs for _, refs in corpus]
    samples = samples_of(refs)
    ours = make("chrf", samples, word_order=word_order, lowercase=lowercase).measure(samples, outs)
    scorer = CHRF(word_order=word_order, lowercase=lowercase)
    most = max(map(len, refs), default=0)
    streams = [[each[i] if i < len(each) else None for each in refs] for i in range(most)]
    theirs = scorer._extract_corpus_statistics(outs, streams) if corpus else []
    assert ours.tolist() == theirs


def test_chrf_of_many_segments_at_once_is_that_of_each(make, samples_of):
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abc 狗é"), rng.integers(0, 60))) for _ in range(400)]
    samples = samples_of(texts[:200])
    ours = make("chrf", samples).measure(samples, texts[200:])
    theirs = CHRF()._extract_corpus_statistics(texts[200:], [texts[:200]])
    assert ours.tolist() == theirs
