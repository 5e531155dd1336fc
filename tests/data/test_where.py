"""Conditions on fields: which rows are taken, with accounts that close."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.core.errors import HarnessError
from harness.data import Dataset

ROWS = [
    {"prompt": f"q{n}", "completion": "a", "n": n, "language": "de" if n % 2 else "en", "about": {"who": f"w{n % 3}"}}
    for n in range(10)
]


def taken(dataset: Dataset) -> list[int]:
    return sorted(int(str(sample.metadata["n"])) for sample in dataset.samples)


CASES = [
    ({"language": "en"}, [0, 2, 4, 6, 8]),
    ({"n": 3}, [3]),
    ({"n": [3, 4, 99]}, [3, 4]),
    ({"n": ">=7"}, [7, 8, 9]),
    ({"n": "> 7"}, [8, 9]),
    ({"n": "<2"}, [0, 1]),
    ({"n": "<=1.5"}, [0, 1]),
    ({"n": "!=3", "language": "!=en"}, [1, 5, 7, 9]),
    ({"about.who": "w1"}, [1, 4, 7]),
    ({"about": {"who": ["w1"]}, "n": "<5"}, [1, 4]),
]


@pytest.mark.parametrize(("where", "numbers"), CASES, ids=[str(where) for where, _ in CASES])
def test_rows_that_meet_all_conditions_are_taken(
    read_rows: Callable[..., Dataset], where: dict[str, object], numbers: list[int]
):
    dataset = read_rows(*ROWS, where=where)
    assert taken(dataset) == numbers
    assert dataset.record.n_rows == 10
    assert dataset.record.n_dropped == {"data.where": 10 - len(numbers)}
    assert not [finding for finding in dataset.findings if finding.severity == "fatal"]


CELLS = b"prompt,completion,stars,ok\nq1,a,4.0,True\nq2,a,10,false\nq3,a,,true\nq4,a,many,\n"


@pytest.mark.parametrize(
    ("where", "questions"),
    [
        ({"stars": ">=4"}, "q1 q2"),
        ({"stars": 4}, "q1"),
        ({"stars": "4"}, ""),
        ({"stars": "!=10"}, "q1 q3 q4"),
        ({"ok": True}, "q1 q3"),
        ({"ok": ""}, "q4"),
    ],
    ids=str,
)
def test_cells_of_tables_are_compared_as_what_they_spell(
    read_train: Callable[..., Dataset], where: dict[str, object], questions: str
):
    if not questions:
        with pytest.raises(HarnessError, match="none of the 4 training rows meets"):
            read_train(CELLS, name="train.csv", train_where=where)
        return
    dataset = read_train(CELLS, name="train.csv", train_where=where, split={"train": 1, "validation": 0, "test": 0})
    assert {sample.question for sample in dataset.split("train")} == set(questions.split())


def test_one_is_not_true_and_null_is_absent(read_rows: Callable[..., Dataset]):
    rows = [{"prompt": f"q{n}", "completion": "a", "x": x} for n, x in enumerate((1, True, None, "1"))]
    asked = {"1": 1, "true": True, "null": None, "differs": "!=1"}
    got = {name: {s.question for s in read_rows(*rows, where={"x": value}).samples} for name, value in asked.items()}
    assert got == {"1": {"q0", "q3"}, "true": {"q1"}, "null": {"q2"}, "differs": {"q1", "q2"}}


def test_train_where_leaves_validation_and_test_as_they_are(read_rows: Callable[..., Dataset]):
    everything = read_rows(*ROWS)
    half = [sample.metadata["n"] for sample in everything.split("train")][::2]
    filtered = read_rows(*ROWS, train_where={"n": half})
    for split in ("validation", "test"):
        assert filtered.split(split) == everything.split(split)
        assert filtered.record.sha256[split] == everything.record.sha256[split]
    expected = [sample for sample in everything.split("train") if sample.metadata["n"] in half]
    assert list(filtered.split("train")) == expected
    record = filtered.record
    assert record.n_dropped == {"data.train_where": len(everything.split("train")) - len(expected)}
    assert record.n_rows == sum(record.n_samples.values()) + sum(record.n_dropped.values())


def test_a_bad_row_that_is_not_taken_does_no_harm(read_rows: Callable[..., Dataset]):
    dataset = read_rows(*ROWS, {"prompt": "", "completion": 3, "n": 10, "language": "xx"}, where={"language": "en"})
    assert not [finding for finding in dataset.findings if finding.severity == "fatal"]


@pytest.mark.parametrize(
    ("data", "code", "says", "fix"),
    [
        ({"where": {"langage": "en"}}, "E-FIELD", "data.where names 'langage'", "did you mean 'language'?"),
        ({"train_where": {"about.whom": "x"}}, "E-FIELD", "data.train_where names 'about.whom'", "'about.who'"),
        ({"where": {"n": ">=many"}}, "E-WHERE", "which is not a number", "after >="),
        ({"where": {"n": []}}, "E-WHERE", "data.where.n is not a list of values", "write"),
        ({"where": {"n": ">99"}}, "E-EMPTY", "none of the 10 rows of 'rows.jsonl' meets data.where", "less"),
        ({"train_where": {"n": ">99"}}, "E-EMPTY", "none of the 10 training rows meets data.train_where", "less"),
    ],
)
def test_conditions_that_cannot_be_meant_are_errors(
    read_rows: Callable[..., Dataset], data: dict[str, object], code: str, says: str, fix: str
):
    with pytest.raises(HarnessError) as caught:
        read_rows(*ROWS, **data)
    assert caught.value.code == code
    assert says in caught.value.what
    assert fix in caught.value.fix
