"""Conformance suites: what every metric, backend, judge, trainer, reporter and task folder must satisfy, as functions.

Each raises `ConformanceError`, an AssertionError that names the broken promise and shows an example.
"""

from harness.testing.backends import check_backend
from harness.testing.judges import check_judge
from harness.testing.metrics import check_metric
from harness.testing.promises import ConformanceError
from harness.testing.reporters import check_card_reporter, check_reporter
from harness.testing.samples import HOSTILE_TEXTS, SAMPLE_SETS, samples_of
from harness.testing.tasks import check_task
from harness.testing.trainers import check_trainer

__all__ = [
    "HOSTILE_TEXTS",
    "SAMPLE_SETS",
    "ConformanceError",
    "check_backend",
    "check_card_reporter",
    "check_judge",
    "check_metric",
    "check_reporter",
    "check_task",
    "check_trainer",
    "samples_of",
]
