"""Metrics of `evaluate`, from scripts on disk: no network."""

from __future__ import annotations

import dataclasses
import sys

import evaluate
import numpy as np
import pytest
from sklearn.metrics import f1_score

from harness.core.errors import HarnessError
from harness.metrics.context import MetricContext
from harness.metrics.published import create

SCRIPT = """
import datasets
import evaluate
import numpy as np
{more}

class Mine(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="",
            features=datasets.Features({{"predictions": {prediction}, "references": {reference}}}), {info}
        )

    def _compute(self, predictions, references{takes}):
        {body}
"""
TEXT, INT, FLOAT = ("datasets.Value('string')", "datasets.Value('int32')", "datasets.Value('float32')")
F1 = 'return {"f1": f1_score(references, predictions, average="macro")}'


@pytest.fixture
def published(tmp_path, monkeypatch, samples_of):
    """Write a metric's script and create it for references. The library's caches are the test's own."""
    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in [name for name in sys.modules if name.partition(".")[0] == "evaluate_modules"]:
        monkeypatch.delitem(sys.modules, name)

    def make(texts, body, *, prediction=TEXT, reference=None, takes="", more="", info="", **options):
        name = f"mine_{len(list(tmp_path.iterdir()))}"
        filled = SCRIPT.format(
            body=body, prediction=prediction, reference=reference or prediction, takes=takes, more=more, info=info
        )
        (tmp_path / f"{name}.py").write_text(filled)
        samples = samples_of(texts)
        return samples, create(MetricContext(f"hf:{name}.py", samples, options, tmp_path))

    return make


def test_macro_f1_of_labels_equals_scikit_learn_on_any_rows(published):
    rng = np.random.default_rng(0)
    true = [str(x) for x in rng.choice(["amber", "blue", "red"], 60)]
    out = [t if rng.random() < 0.6 else str(rng.choice(["amber", "blue", "red", "grey"])) for t in true]
    samples, metric = published(true, F1, prediction=INT, more="from sklearn.metrics import f1_score", inputs="labels")
    assert metric.scorer.direct
    rows = rng.integers(0, 60, 60)
    for chosen in (range(60), rows):
        theirs = f1_score([true[i] for i in chosen], [out[i] for i in chosen], average="macro")
        ours = metric.score([samples[i] for i in chosen], [out[i] for i in chosen])
        assert ours == pytest.approx(theirs, abs=1e-12)


def test_the_short_way_gives_what_compute_gives(published):
    """float32 columns round 0.1; the seed that compute() sets is set."""
    body = 'return {"noise": float(np.mean(np.subtract(predictions, references)) * 1e9 + np.random.random())}'
    samples, metric = published(["0.1", "0.7", "3"], body, prediction=FLOAT, inputs="numbers", best=1e12, worst=-1e12)
    fast, slow = metric.scorer, dataclasses.replace(metric.scorer, direct=False)
    assert fast.direct
    out = ["0.2", "0.3", "2.9"]
    assert fast.outputs(samples, out) == slow.outputs(samples, out)


def test_a_metric_that_needs_numpy_columns_takes_the_long_way(published):
    body = 'return {"size": float(predictions.shape[0] > 0)}'
    samples, metric = published(["1", "2"], body, prediction=FLOAT, info='format="numpy"', inputs="numbers")
    assert not metric.scorer.direct
    assert metric.score(samples, ["1", "1"]) == 1


def test_answers_that_are_no_numbers_are_far_off(published):
    body = 'return {"mae": float(np.mean(np.abs(np.subtract(predictions, references))))}'
    samples, metric = published(
        ["1", "5"], body, prediction=FLOAT, inputs="numbers", higher_is_better=False, best=0, worst=4
    )
    assert metric.score(samples, ["one", "5"]) == 2
    assert (metric.higher_is_better, metric.best, metric.worst) == (False, 0, 4)


def test_all_references_go_as_a_list_or_the_first_with_a_caveat(published):
    body = 'return {"hit": float(np.mean([p in r for p, r in zip(predictions, references)]))}'
    many = "datasets.Sequence(datasets.Value('string'))"
    references = [("a", "b"), ("c", "d")]
    samples, metric = published(references, body, reference=many, references="list")
    assert metric.score(samples, ["b", "x"]) == 0.5
    body = 'return {"hit": float(np.mean([p == r for p, r in zip(predictions, references)]))}'
    samples, metric = published(references, body)
    assert metric.score(samples, ["b", "c"]) == 0.5
    assert "first reference only" in metric.caveats[0]


def test_several_numbers_need_a_key(published):
    body = 'return {"mean": 0.5, "n": len(predictions), "all": predictions}'
    with pytest.raises(HarnessError, match="numbers: 'mean', 'n'") as caught:
        published(["a"], body)
    assert caught.value.code == "E-OPTION"
    with pytest.raises(HarnessError, match="no number 'all'"):
        published(["a"], body, key="all")
    samples, metric = published(["a"], body, key="mean")
    assert metric.score(samples, ["a"]) == 0.5
    assert "key:mean|" in metric.signature


def test_kwargs_reach_the_metric_and_the_signature(published):
    body = 'return {"score": scale * 0.25}'
    samples, metric = published(["a"], body, takes=", scale=1", kwargs={"scale": 3})
    assert metric.score(samples, ["a"]) == 0.75
    assert 'kwargs:{"scale":3}' in metric.signature


def test_code_decides_the_signature(published):
    one = published(["a"], 'return {"score": 0.5}')[1].signature
    other = published(["a"], 'return {"score": 0.25}')[1].signature
    assert one.partition("|code:")[2] != other.partition("|code:")[2]


MEAN = 'return {"share": float(np.mean([p == r for p, r in zip(predictions, references)]))}'


def test_declared_additive_it_is_a_mean_of_rows(published):
    samples, metric = published(["a", "b", "c"], MEAN, additive=True)
    assert metric.measure(samples, ["a", "x", "c"]).tolist() == [[1, 1], [0, 1], [1, 1]]
    assert "additive:declared-and-checked" in metric.signature


def test_declared_additive_and_not_so_is_an_error(published):
    body = 'return {"any": float(any(p == r for p, r in zip(predictions, references)))}'
    samples, metric = published(["a", "b", "c"], body, additive=True)
    with pytest.raises(HarnessError, match="declared additive"):
        metric.measure(samples, ["a", "x", "x"])


def test_undefined_on_some_rows_is_nan_and_a_wrong_call_an_error(published):
    body = 'if len(set(references)) < 2: raise ValueError("only one class")\n        return {"auc": 1.0}'
    samples, metric = published(["a", "b", "b"], body)
    assert np.isnan(metric.score(samples[1:], ["a", "a"]))
    assert metric.score(samples, ["a", "a", "a"]) == 1
    with pytest.raises(HarnessError, match="failed on 2 rows") as caught:
        published(["a", "b"], 'return {"x": predictions[0] / 2}')
    assert caught.value.code == "E-METRIC"


def test_hostile_answers_are_scored(published):
    samples, metric = published(["a", "b"], MEAN)
    assert metric.score(samples, ["\ud800", "\x00"]) == 0


@pytest.mark.parametrize("name", ["hf:rouge", "hf:someone/metric"])
def test_without_the_hub_the_error_says_how_to_get_the_metric(samples_of, monkeypatch, tmp_path, name):
    import huggingface_hub.constants

    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HarnessError, match="not in the local cache") as caught:
        create(MetricContext(name, samples_of(["a"]), {}))
    assert caught.value.code == "E-OFFLINE"
    assert f"evaluate.load('{name[3:]}')" in caught.value.fix
    assert not evaluate.config.HF_EVALUATE_OFFLINE


@pytest.mark.parametrize("name", ["hf:missing.py", "hf:../x/y/z", "hf", "hf:"])
def test_a_path_without_a_script_and_no_name_are_errors(samples_of, name):
    with pytest.raises(HarnessError) as caught:
        create(MetricContext(name, samples_of(["a"]), {}))
    assert caught.value.code == "E-OPTION"


def test_a_missing_package_is_named(published):
    with pytest.raises(HarnessError, match="no_such_package") as caught:
        published(["a"], MEAN, more="import no_such_package")
    assert caught.value.code == "E-METRIC"
