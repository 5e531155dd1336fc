"""results.parquet has every sample and arm, whole."""

import io

import pandas as pd

from reports.parquet import reporter
from tests.reports.view import empty, view


def table(run: object) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(reporter.render(run)["results.parquet"]))  # type: ignore[arg-type]


def test_one_row_per_sample_and_arm_with_a_column_per_metric():
    run = view(20)
    found = table(run)
    assert list(found.columns) == [
        *("id", "arm", "output", "failure", "prompt", "references"),
        *("rouge_l", "exact_match", "perplexity"),
    ]
    assert len(found) == 20 * 3
    first = found.iloc[2]
    assert (first["id"], first["arm"]) == ("s-0000", "tuned")
    assert first["output"] == run.rows[0].outputs["tuned"]
    assert first["rouge_l"] == run.rows[0].scores["tuned"]["rouge_l"]
    assert list(first["references"]) == list(run.rows[0].references)


def test_failures_have_a_reason_and_no_score():
    failed = table(view(20)).query("id == 's-0005' and arm == 'base-0shot'").iloc[0]
    assert failed["failure"].startswith("prompt too long")
    assert pd.isna(failed["output"])
    assert pd.isna(failed["rouge_l"])


def test_run_without_samples_gives_an_empty_table():
    assert list(table(empty()).columns) == ["id", "arm", "output", "failure", "prompt", "references"]


def test_same_run_gives_the_same_bytes():
    assert reporter.render(view(9)) == reporter.render(view(9))
