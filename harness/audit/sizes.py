"""Whether there are rows enough: to train, to choose, to compare, and to draw shots from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from harness.audit.facts import Facts, finding
from harness.core.records import Finding
from harness.stats.power import minimum_detectable_effect

_MIN_ROWS = 20
_SD = 0.5


def missing_splits(facts: Facts) -> Iterator[Finding]:
    """E-NOTRAIN, E-NOTEST, E-NOVALIDATION: a stage of the run would have nothing to work on."""
    name = facts.task.name
    if not facts.splits["train"]:
        yield finding(
            "E-NOTRAIN",
            "fatal",
            f"task {name!r} has no training rows",
            fix="add rows to the train file, or raise [data.split] train",
        )
    if not facts.splits["test"]:
        yield finding(
            "E-NOTEST",
            "fatal",
            f"task {name!r} has no test rows, so nothing can be compared",
            fix='add test = "FILE" to [data], or raise [data.split] test',
        )
    if not facts.splits["validation"] and facts.selection_rule != "last":
        yield finding(
            "E-NOVALIDATION",
            "fatal",
            f"task {name!r} has no validation rows, so no checkpoint can be chosen",
            fix='add validation = "FILE" to [data], raise [data.split] validation, or take the last: select.rule=last',
        )


def small_splits(facts: Facts) -> Iterator[Finding]:
    """E-SMALL: too few rows for an interval to mean anything."""
    for split in ("validation", "test"):
        n = len(facts.splits[split])
        if 0 < n < _MIN_ROWS:
            yield finding(
                "E-SMALL",
                "warning",
                f"{split} has only {n} {'row' if n == 1 else 'rows'}: an interval over fewer than {_MIN_ROWS} "
                "means little",
                fix=f"add {split} rows",
            )


def small_pool(facts: Facts) -> Iterator[Finding]:
    """E-FEWSHOT: fewer training rows than shots, once those that ask a sample's own question are left out."""
    k = max(facts.task.prompting.shots)
    copies = Counter(facts.folded[sample.id] for sample in facts.splits["train"])
    asked = [*facts.splits["validation"], *facts.splits["test"]]
    n = len(facts.splits["train"]) - max((copies[facts.folded[sample.id]] for sample in asked), default=0)
    if n < k:
        yield finding(
            "E-FEWSHOT",
            "fatal",
            f"prompting.shots asks for {k} examples, but train has only {n} that may be shown with every sample",
            fix=f"set prompting.shots to at most {n}, or add training rows",
        )


def detectable_effect(facts: Facts) -> tuple[float | None, str]:
    """The smallest true difference this test set finds with 80 % power, and what that rests on."""
    test = facts.splits["test"]
    n = len({sample.group or sample.id for sample in test}) if facts.task.data.group else len(test)
    if n < 2:
        return None, "at least two test rows are needed"
    if not facts.bounded:
        return None, "not known beforehand for a metric that does not run from 0 to 1"
    unit = f"groups of data.group = {facts.task.data.group!r}, each as one row" if facts.task.data.group else "rows"
    assumption = (
        f"{n:,} independent test {unit}; paired difference per row with a standard deviation of {_SD} "
        "on a metric from 0 to 1; two-sided test at 5 %, power 80 %"
    )
    return minimum_detectable_effect(n, sd=_SD), assumption
