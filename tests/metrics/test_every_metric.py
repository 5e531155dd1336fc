"""What every metric must satisfy, whatever it measures."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest

from harness.core.errors import HarnessError

WORDS = ["red", "green", "blue", "amber", "violet", "seven", "eight", "stone", "river", "cloud"]
HOSTILE = [
    "",
    " ",
    "\x00",
    "\ud800",
    "[" * 100_000,
    '{"a":' * 5000,
    "9" * 5000,
    "1" + "0" * 400,
    "\u202e</script>",
    "NaN",
    "null",
]
LABELS = {"accuracy", "macro_f1", "micro_f1", "weighted_f1", "macro_precision", "macro_recall"}
LABELS |= {"precision", "recall", "f1"}
NUMBERS = {"mse", "rmse", "mae", "r2", "pearson"}


def corpus(name, seed=0, n=24):
    """References that the metric can read, and completions that are right, wrong or broken."""
    rng = np.random.default_rng(seed)
    if name in ("field_f1", "json_valid", "json_schema"):
        references = [f'{{"a": "{rng.choice(WORDS)}", "b": {rng.integers(3)}}}' for _ in range(n)]
    elif name in LABELS:
        references = [str(word) for word in rng.choice(WORDS[:4], n)]
    elif name in NUMBERS:
        references = [str(number) for number in rng.integers(-40, 90, n) / 4]
    else:
        references = [" ".join(rng.choice(WORDS, 8)) for _ in range(n)]
    others = [references[i] for i in rng.permutation(n)]
    kinds = [references, others, ["", "{", "nonsense \ud800 text"] * n]
    return references, [kinds[rng.choice(3, p=[0.5, 0.35, 0.15])][i] for i in range(n)]


def test_statistics_have_one_row_a_sample_and_values_lie_between_worst_and_best(metric_name, make, samples_of):
    references, completions = corpus(metric_name)
    samples = samples_of(references)
    metric = make(metric_name, samples)
    statistics = metric.measure(samples, completions)
    assert statistics.dtype == np.float64
    assert statistics.shape[0] == len(samples)
    value = metric.value(statistics.sum(0))
    assert min(metric.best, metric.worst) < value < max(metric.best, metric.worst)
    assert metric.per_sample(statistics).shape == (len(samples),)


def test_value_works_on_many_totals_at_once(metric_name, make, samples_of):
    references, completions = corpus(metric_name)
    samples = samples_of(references)
    metric = make(metric_name, samples)
    statistics = metric.measure(samples, completions)
    weights = np.random.default_rng(1).integers(0, 3, (2, 5, len(samples))).astype(float)
    many = metric.value(weights @ statistics)
    assert many.shape == (2, 5)
    assert many[1, 3] == pytest.approx(float(metric.value(weights[1, 3] @ statistics)), abs=1e-12)


def test_the_references_themselves_are_the_best_answers(metric_name, make, samples_of):
    references, _ = corpus(metric_name)
    samples = samples_of(references)
    metric = make(metric_name, samples)
    statistics = metric.measure(samples, references)
    assert float(metric.value(statistics.sum(0))) == pytest.approx(metric.best, abs=1e-12)
    scores = metric.per_sample(statistics)
    assert scores[np.isfinite(scores)] == pytest.approx(metric.best)
    # A correlation has no score for one sample, a class none for samples that are of other classes.
    assert np.isfinite(scores).all() or metric_name in {"pearson", "precision", "recall", "f1"}


def test_no_answer_at_all_is_no_better_than_the_worst(metric_name, make, samples_of):
    samples = samples_of(corpus(metric_name)[0])
    metric = make(metric_name, samples)
    silence = metric.value(metric.measure(samples, [""] * len(samples)).sum(0))
    assert silence == pytest.approx(metric.worst, abs=1e-9)


def test_parts_are_metrics_over_some_columns(metric_name, make, samples_of):
    references, completions = corpus(metric_name)
    samples = samples_of(references)
    metric = make(metric_name, samples)
    parts = metric.parts() if hasattr(metric, "parts") else ()
    assert len({part.metric.name for part in parts}) == len(parts)
    statistics = metric.measure(samples, completions)
    for part in parts:
        own = part.metric.measure(samples, completions)
        assert np.array_equal(own, statistics[:, part.columns])
        value = part.metric.value(own.sum(0))
        assert min(part.metric.best, part.metric.worst) <= value <= max(part.metric.best, part.metric.worst)
        assert float(part.metric.value(part.metric.measure(samples, references).sum(0))) == part.metric.best
        assert part.metric.signature.endswith("|harness:1")


def test_caveats_are_sentences_and_english_needs_none(metric_name, make, samples_of):
    metric = make(metric_name, samples_of(corpus(metric_name)[0]))
    assert getattr(metric, "caveats", ()) == ()


def test_order_of_samples_does_not_matter(metric_name, make, samples_of):
    """sacrebleu's issues 272 and 275: transposed references scored 100."""
    references, completions = corpus(metric_name)
    samples = samples_of(references)
    metric = make(metric_name, samples)
    order = np.random.default_rng(2).permutation(len(samples))
    one = metric.measure(samples, completions)
    other = metric.measure([samples[i] for i in order], [completions[i] for i in order])
    assert np.array_equal(one[order], other)


def test_no_samples_have_no_score_and_no_warning(metric_name, make, samples_of):
    samples = samples_of(corpus(metric_name)[0])
    metric = make(metric_name, samples)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        statistics = metric.measure([], [])
        assert statistics.shape == (0, metric.measure(samples[:1], ["x"]).shape[1])
        assert np.isnan(metric.value(statistics.sum(0)))
        assert metric.per_sample(statistics).shape == (0,)


def test_hostile_completions_are_wrong_answers_not_errors(metric_name, make, samples_of):
    samples = samples_of(corpus(metric_name)[0])
    metric = make(metric_name, samples)
    for text in HOSTILE:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.isfinite(metric.measure(samples[:1], [text])).all()


def test_completions_must_match_samples(metric_name, make, samples_of):
    samples = samples_of(corpus(metric_name)[0])
    with pytest.raises(ValueError):
        make(metric_name, samples).measure(samples[:2], ["one"])


def test_unknown_option_is_an_error_that_names_the_known_ones(metric_name, make, samples_of):
    samples = samples_of(corpus(metric_name)[0][:2])
    with pytest.raises(HarnessError, match="colour") as caught:
        make(metric_name, samples, colour="red")
    assert caught.value.code == "E-OPTION"
    assert f"[metrics.options.{metric_name}]" in caught.value.fix


def test_signature_names_the_metric_and_its_version(metric_name, make, samples_of):
    metric = make(metric_name, samples_of(corpus(metric_name)[0]))
    assert metric.name == metric_name
    assert metric.signature.endswith("|harness:1")
    assert "|" in metric.signature


def test_options_change_the_signature(make, samples_of):
    samples = samples_of(["a"])
    pairs = [
        ("bleu", {"lowercase": True}),
        ("bleu", {"smooth": "floor"}),
        ("bleu", {"tokenize": "char"}),
        ("chrf", {"word_order": 2}),
        ("chrf", {"lowercase": True}),
        ("rouge_l", {"use_stemmer": True}),
        ("exact_match", {"normalise": ["case"]}),
        ("rouge_l", {"tokenize": "unicode"}),
        ("ter", {"case_sensitive": True}),
        ("ter", {"normalized": True}),
        ("ter", {"no_punct": True}),
        ("cer", {"normalise": ["case"]}),
        ("length_ratio", {"unit": "characters"}),
        ("length_within", {"max": 9}),
        ("regex_match", {"pattern": "b"}),
        ("json_schema", {"schema": {"type": "array"}}),
    ]
    for name, options in pairs:
        assert make(name, samples).signature != make(name, samples, **options).signature


def test_importing_the_package_loads_no_library():
    check = (
        "import sys, harness.metrics, harness.metrics.context, harness.metrics.bleu, harness.metrics.chrf,"
        " harness.metrics.rouge, harness.metrics.classes, harness.metrics.ter, harness.metrics.edits,"
        " harness.metrics.lengths, harness.metrics.pattern, harness.metrics.schema, harness.metrics.published,"
        " harness.metrics.own; "
        "print(sorted({'sacrebleu', 'rouge_score', 'nltk', 'sklearn', 'torch', 'evaluate', 'datasets', 'rapidfuzz',"
        " 'jsonschema', 'regex'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
