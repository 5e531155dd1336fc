"""The audit as a whole: order of findings, lengths, detectable effect, real data, and size."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.audit import audit
from harness.audit.near import near_pairs
from harness.core.records import AuditRecord
from harness.core.specs import DataSpec, MetricsSpec, TaskSpec
from harness.data import Dataset, read

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
ROWS = [(f"question number {n}", f"answer {n}") for n in range(90)]


def test_findings_of_reading_come_first_then_fatal_before_warnings(make: Callable[..., tuple[Dataset, TaskSpec]]):
    dataset, task = make([*ROWS[:5], {"prompt": 3, "completion": "x"}], ROWS[30:32], [])
    record = audit(
        dataset, task, lengths={}, context_length=10, special_texts=(), row_problems={}, selection_rule="best"
    )
    assert [finding.code for finding in record.findings] == ["E-EMPTY", "E-TYPE", "E-NOVALIDATION", "E-SMALL"]
    assert {finding.code for finding in record.fatal} == {"E-TYPE", "E-EMPTY", "E-NOVALIDATION"}


def test_rows_dropped_for_the_audits_reasons_end_its_findings(make: Callable[..., tuple[Dataset, TaskSpec]]):
    dataset, task = make([*ROWS[:30], ("q <s>", "a")], ROWS[30:60], ROWS[60:])

    def inspect(data: Dataset) -> AuditRecord:
        return audit(
            data, task, lengths={}, context_length=9, special_texts=["<s>"], row_problems={}, selection_rule="best"
        )

    assert len(inspect(dataset).fatal) == 1
    smaller = dataset.without({"train-31": "E-SPECIAL-IN-TEXT"})
    assert inspect(smaller).fatal == ()
    assert smaller.record.n_dropped == {"E-SPECIAL-IN-TEXT": 1}


def test_token_lengths_are_summed_up_for_each_split(check: Callable[..., AuditRecord]):
    rows = [("one", "a b"), ("one two", "a b"), ("one two three six", "a b c d")]
    lengths = check(ROWS[:30], rows, []).token_lengths
    assert set(lengths) == {"train", "test"}
    # Prompts of 1, 2 and 4 words, answers of 2, 2 and 4 with an end token; p95 interpolated by hand: 2 + .9 * 2.
    assert lengths["test"] == pytest.approx(
        {
            "prompt_min": 1, "prompt_median": 2, "prompt_p95": 3.8, "prompt_max": 4,
            "reference_min": 3, "reference_median": 3, "reference_p95": 4.8, "reference_max": 5,
        }
    )  # fmt: skip


def test_detectable_effect_falls_with_the_root_of_n(check: Callable[..., AuditRecord]):
    # (1.95996 + 0.84162) * sd / sqrt(n), the textbook formula of a paired z test.
    record = check(ROWS[:30], ROWS[30:55], ROWS[60:])
    assert record.minimum_detectable_effect == pytest.approx(2.80158 * 0.5 / 5, rel=0.1)
    assert "25 independent test rows" in record.mde_assumption
    assert "standard deviation of 0.5" in record.mde_assumption


def test_detectable_effect_counts_groups_where_there_are_some(check: Callable[..., AuditRecord]):
    def grouped(start: int, size: int) -> list[dict[str, object]]:
        return [{"prompt": p, "completion": a, "g": n // size} for n, (p, a) in enumerate(ROWS[start : start + 30])]

    record = check(grouped(0, 1), grouped(30, 3), grouped(60, 1), group="g")
    assert "10 independent test groups" in record.mde_assumption


def test_detectable_effect_is_undefined_for_one_row(check: Callable[..., AuditRecord]):
    record = check(ROWS[:30], ROWS[30:31], ROWS[60:])
    assert record.minimum_detectable_effect is None


def inspect_shared(folder: str, test: str, validation: str | None, reference: str) -> AuditRecord:
    data = DataSpec(train="train.jsonl", test=test, validation=validation, prompt="{input}", reference=reference)
    task = TaskSpec(name="real", data=data, metrics=MetricsSpec(primary="exact_match"))
    dataset = read(task, SHARED / folder, drop_bad=False)
    return audit(dataset, task, lengths={}, context_length=9, special_texts=(), row_problems={}, selection_rule="best")


@pytest.mark.skipif(
    not SHARED.is_dir(), reason="the reference data stands beside the project only where it is developed"
)
@pytest.mark.parametrize(
    ("folder", "test", "validation", "reference", "n", "says"),
    [
        (
            "banking77",
            "test.jsonl",
            None,
            "{output}",
            range(5, 6),
            "0 letter for letter, 2 but for outer blanks, 5 but",
        ),
        ("scitldr_a", "test.jsonl", "validation.jsonl", "{input}", range(3, 4), "(2 in train, 1 in validation)"),
        ("restaurant8k", "test_full.jsonl", None, "{output}", range(230, 240), "125 letter for letter"),
    ],
    ids=["banking77", "scitldr_a", "restaurant8k"],
)
def test_known_leaks_of_published_data(
    folder: str, test: str, validation: str | None, reference: str, n: range, says: str
):
    """Counts from the data's own card, made with other code."""
    record = inspect_shared(folder, test, validation, reference)
    assert len(record.leaked_test_ids) in n
    leaks = [finding for finding in record.findings if finding.code == "E-LEAK"]
    assert says in leaks[0].what
    if folder == "scitldr_a":
        assert [finding.count for finding in leaks] == [3, 1]
    assert record.fatal == ()


def test_near_pairs_equal_a_plain_search():
    rng = random.Random(0)
    words = [f"w{n}" for n in range(4)]
    texts = [" ".join(rng.choices(words, k=rng.randint(0, 30))) for _ in range(60)]
    pool = [" ".join(rng.choices(words, k=rng.randint(0, 30))) for _ in range(8)]
    for text in texts[:5]:
        pool.append("x " + text + " y")

    def runs(text: str) -> set[tuple[str, ...]]:
        split = text.split()
        return {tuple(split[start : start + 13]) for start in range(len(split) - 12)}

    def alike(one: str, two: str) -> bool:
        common = runs(one) & runs(two)
        return bool(common) or (len(one.split()) >= 8 and sorted(one.split()) == sorted(two.split()))

    expected = {number for number, text in enumerate(texts) if any(alike(text, other) for other in pool)}
    assert set(near_pairs(texts, pool)) == expected
    assert len(expected) >= 3
