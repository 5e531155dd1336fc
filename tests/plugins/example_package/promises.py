"""Do our plug-ins keep the promises of the harness? Run it with: pytest promises.py"""

from pathlib import Path

import sft_example.tasks
from sft_example import one_line, steady, vowels

from harness.testing import check_metric, check_reporter, check_task, check_trainer


def test_metric() -> None:
    check_metric(vowels.create)


def test_trainer(tmp_path: Path) -> None:
    check_trainer(steady.trainer, open_model=object, folder=tmp_path)


def test_reporter() -> None:
    check_reporter(one_line.reporter)


def test_tasks() -> None:
    for file in Path(sft_example.tasks.__file__).parent.glob("*/task.toml"):
        check_task(file.parent)
