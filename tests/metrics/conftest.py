"""Samples from texts, and every metric by its entry point's name."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import pytest

from harness.core.types import Message, Sample
from harness.metrics.context import MetricContext

ROOT = Path(__file__).parents[2]
ENTRY_POINTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["harness.metrics"]
# "hf" stands for a published metric and is none itself.
NAMES = sorted(n for n, target in ENTRY_POINTS.items() if target.startswith("harness.metrics.") and n != "hf")
# What metrics cannot do without.
NEEDED = {
    "precision": {"label": "red"},
    "recall": {"label": "red"},
    "f1": {"label": "red"},
    "length_within": {"min": 8, "max": 8},
    "regex_match": {"pattern": r"[a-z]+( [a-z]+){7}"},
    "json_schema": {"schema": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a", "b"]}},
}


def pytest_generate_tests(metafunc):
    if "metric_name" in metafunc.fixturenames:
        metafunc.parametrize("metric_name", NAMES)


def make_samples(references):
    """One sample for each text, or tuple of texts."""
    many = [(r,) if isinstance(r, str) else tuple(r) for r in references]
    turn = (Message("user", "q"),)
    return [Sample(str(i), "test", turn, refs, origin=f"data.jsonl:{i + 1}") for i, refs in enumerate(many)]


def make_metric(name, samples, **options):
    module, attribute = ENTRY_POINTS[name].split(":")
    create = getattr(importlib.import_module(module), attribute)
    return create(MetricContext(name, samples, {**NEEDED.get(name, {}), **options}))


@pytest.fixture
def samples_of():
    return make_samples


@pytest.fixture
def make():
    return make_metric


@pytest.fixture
def score():
    """Corpus value and per-sample scores of completions against references."""

    def run(name, completions, references, **options):
        samples = make_samples(references)
        metric = make_metric(name, samples, **options)
        statistics = metric.measure(samples, completions)
        return float(metric.value(statistics.sum(0))), metric.per_sample(statistics).tolist()

    return run


@pytest.fixture
def metric_checks():
    """Recorded outputs with scores by the official scripts, where this checkout stands beside them."""
    folder = ROOT.parent / "shared" / "metric_checks"
    if not folder.is_dir():
        pytest.skip(f"no recorded outputs at {folder}")
    return folder
