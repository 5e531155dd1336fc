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
F1 = 'return {"f1": f1_score(references, predictions, average="macro", labels=labels)}'
LABELLED = {
    "prediction": INT, "takes": ", labels=None", "more": "from sklearn.metrics import f1_score", "inputs": "labels"
}  # fmt: skip


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


def test_macro_f1_of_labels_equals_scikit_learn_over_the_tasks_classes_on_any_rows(published):
    """An answer that is no label is wrong, and no class to average over."""
    rng = np.random.default_rng(0)
    classes = ["amber", "blue", "red"]
    true = [str(x) for x in rng.choice(classes, 60)]
    out = [t if rng.random() < 0.6 else str(rng.choice([*classes, "grey", ""])) for t in true]
    samples, metric = published(true, F1, **LABELLED, kwargs={"labels": [0, 1, 2]})
    assert metric.scorer.direct
    assert metric.caveats == ("scored anew for every resample, so its intervals rest on fewer of them",)
    rows = rng.integers(0, 60, 60)
    for chosen in (range(60), rows):
        theirs = f1_score([true[i] for i in chosen], [out[i] for i in chosen], average="macro", labels=classes)
        ours = metric.score([samples[i] for i in chosen], [out[i] for i in chosen])
        assert ours == pytest.approx(theirs, abs=1e-12)


def test_a_metric_that_makes_a_class_of_answers_without_a_label_must_be_told_its_classes(published):
    with pytest.raises(HarnessError, match="one more class") as caught:
        published(["amber", "blue", "red"] * 4, F1, **LABELLED)
    assert caught.value.code == "E-OPTION"
    assert "kwargs.labels = [0, 1, 2]" in caught.value.fix
    body = F1.replace(", labels=labels", "")
    _, metric = published(["amber", "blue", "red"] * 4, body, **{**LABELLED, "takes": ""})
    assert "one more class" in metric.caveats[-1]
    accuracy = 'return {"accuracy": float(np.mean(np.equal(predictions, references)))}'
    samples, metric = published(["amber", "blue", "red"], accuracy, prediction=INT, inputs="labels")
    assert metric.score(samples, ["amber", "", "grey"]) == pytest.approx(1 / 3)
    assert len(metric.caveats) == 1


def test_a_metric_of_two_classes_that_fails_on_an_answer_without_a_label_is_refused_at_once(published):
    """scikit-learn takes a third value for a third class; as nan the untuned model would stay unjudged."""
    body = 'return {"f1": f1_score(references, predictions)}'
    needed = {"prediction": INT, "more": LABELLED["more"], "inputs": "labels"}
    with pytest.raises(HarnessError, match=r"fails on an answer that is no label.*multiclass") as caught:
        published(["no", "yes"] * 5, body, **needed)
    assert (caught.value.code, "kwargs.average" in caught.value.fix) == ("E-OPTION", True)
    one = F1.replace('"macro"', '"micro"')
    samples, metric = published(["no", "yes"] * 5, one, **LABELLED, kwargs={"labels": [1]})
    answers = ["no", "yes", "yes", "maybe", "no", "yes", "", "yes", "no", "no"]
    # Of "yes": 3 found, 1 wrongly, 2 missed.
    assert metric.score(samples, answers) == pytest.approx(2 * 3 / (4 + 5))


def test_a_metric_that_fails_on_the_answers_is_an_error_not_undefined(published):
    body = 'if "?" in predictions: raise ValueError("what?")\n        return {"hit": 1.0}'
    samples, metric = published(["a", "b"], body)
    with pytest.raises(HarnessError, match="what"):
        metric.score(samples, ["a", "?"])
    assert np.isnan(metric.score(samples[:1], ["?"]))


CORRELATION = 'return {"r": float(np.corrcoef(predictions, references)[0, 1])}'


@pytest.mark.parametrize("largest", [{}, {"largest_error": 5}])
def test_silence_does_not_correlate(published, largest):
    """Two groups far apart: answers a set distance from the references would rise with them."""
    references = [10, 12, 9, 11, 1000, 990, 1010, 1005]
    samples, metric = published(
        [str(r) for r in references], CORRELATION, prediction=FLOAT, inputs="numbers", **largest
    )
    for rows in (range(8), range(4), range(4, 8), range(2, 6)):
        taken = [samples[i] for i in rows]
        assert metric.score(taken, ["no idea"] * len(taken)) < -0.5
        right = [str(references[i] + i % 2) for i in rows]
        partly = ["?" if i % 3 == 0 else text for i, text in zip(rows, right, strict=True)]
        assert metric.score(taken, partly) < metric.score(taken, right)


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
