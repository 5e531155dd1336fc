"""The page says what the records say, with and without scripts, in a bounded size."""

import dataclasses
import re

import numpy as np
import pytest

from harness.core.records import Conclusion
from reports.html import page, reporter
from reports.page import csp_hash
from tests.reports.reading import Page, payload
from tests.reports.view import View, empty, row, view, without

BUNDLE = ("QQ==", "'sha256-bundle'")
RUN = view()


@pytest.fixture(scope="module")
def source() -> str:
    return page(RUN, BUNDLE)


@pytest.fixture(scope="module")
def read(source: str) -> Page:
    return Page(source)


def concluded(answer: str) -> View:
    conclusion: Conclusion = dataclasses.replace(RUN.result.conclusion, answer=answer)  # type: ignore[arg-type]
    return dataclasses.replace(RUN, result=dataclasses.replace(RUN.result, conclusion=conclusion))


def test_everything_but_charts_is_readable_without_scripts(read: Page):
    run = RUN.result
    told = [run.conclusion.sentence, run.conclusion.ship, *run.conclusion.caveats, *run.conclusion.next_steps]
    told += [finding.what for finding in RUN.audit.findings] + [record.arm for record in run.evaluations]
    told += [run.selection.rule, "trainer.learning_rate", "0.0002", "command line", "language=fr", "2 min 08 s"]
    told += [each.signature for record in run.evaluations for each in record.estimates]
    told += ["4 % of the answers ended at the length limit", "data.jsonl:12 (s-0003)", "torch", "2.13.0"]
    told += ["step 250", "left out: validation coverage 91 % is below 95 %", "dropped: duplicate", "threads"]
    missing = [each for each in told if " ".join(each.split()) not in read.text]
    assert missing == []


def test_slices_stand_before_and_after_with_the_worst_first(source: str, read: Page):
    told = [
        "language=fr",
        "in 48 groups",
        "worse",
        "rank 8: 900 rows on a small model",
        "instruction: Describe it warmly.",
    ]
    assert [each for each in told if each not in read.text] == []
    section = source[source.index('id="slices"') : source.index('id="data"')]
    assert section.index("language=fr") < section.index("language=en")
    values = set(read.values)
    for each in RUN.result.slices:
        assert {each.delta, each.low, each.high, each.p_adjusted, each.candidate_value} <= values


def test_parts_of_a_metric_have_a_table_of_their_own(source: str, read: Page):
    assert "exact_match by part" in read.text
    assert "precision of &#39;fr&#39;" in source
    assert 0.3123 in set(read.values)


def test_how_often_the_test_split_was_asked_is_said_when_it_was_more_than_once(read: Page):
    assert "runs here that compared on the same test split" not in read.text
    often = Page(page(dataclasses.replace(RUN, looks=("lora-1", "lora-2", "lora-3")), BUNDLE)).text
    assert "one of 3 runs here that compared on the same test split" in often
    assert "lora-1, lora-2, lora-3" in often


def test_a_run_that_tuned_nothing_says_so():
    nothing = dataclasses.replace(RUN.result.selection, chosen_step=None, best_step=None, tied_steps=())
    told = dataclasses.replace(RUN.result.conclusion, answer=None)
    result = dataclasses.replace(RUN.result, checkpoints=(), selection=nothing, conclusion=told, comparisons=())
    text = Page(page(dataclasses.replace(RUN, result=result), BUNDLE)).text
    assert "Nothing was tuned; the best prompt on validation is base-4shot" in text
    assert "Does another prompt do better?" in text


def test_numbers_on_the_page_are_the_records_numbers(read: Page):
    values = set(read.values)
    for record in RUN.result.evaluations:
        assert {estimate.value for estimate in record.estimates} <= values
    for comparison in RUN.result.comparisons:
        assert {comparison.delta, comparison.low, comparison.high, comparison.p} <= values
        assert {value for value in (comparison.without_leaked or {}).values() if isinstance(value, float)} <= values
    for checkpoint in RUN.result.checkpoints:
        assert {checkpoint.train_loss, checkpoint.validation_loss, checkpoint.validation_accuracy} <= values
    assert RUN.result.selection.optimism in values


def test_first_samples_on_the_page_are_the_worst_regressions(source: str):
    scores = [(row.scores["tuned"]["rouge_l"], row.scores["base-0shot"]["rouge_l"]) for row in RUN.rows]
    changes = [
        (after - before, row.id) for (after, before), row in zip(scores, RUN.rows, strict=True) if before is not None
    ]
    assert re.findall(r'class="id">(s-\d+)<', source)[0] == min(changes)[1]
    assert source.count("<article") == 20


def test_lower_is_better_turns_the_gain_round(read: Page):
    # perplexity: base 8.31, tuned 4.07
    assert 8.31 - 4.07 in read.values


@pytest.mark.parametrize("answer", ["better", "worse", "no difference worth having", "cannot tell"])
def test_each_answer_has_its_own_words_and_colour(answer: str):
    found = page(concluded(answer), BUNDLE)
    tone = {"better": "good", "worse": "bad", "no difference worth having": "even", "cannot tell": "unsure"}[answer]
    assert f'<header class="top {tone}">' in found
    assert f"<title>e2e_nlg: {answer}</title>" in found


def test_policy_allows_both_scripts_by_hash_and_no_connection(source: str):
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', source)
    script = re.search(r"<script>(.*?)</script>", source, re.DOTALL)
    assert policy is not None
    assert script is not None
    rules = policy.group(1).replace("&#39;", "'").split("; ")
    assert rules[0] == "default-src 'none'"
    assert f"script-src {csp_hash(script.group(1))} 'sha256-bundle'" in rules
    assert {"connect-src 'none'", "base-uri 'none'", "form-action 'none'", "img-src data: blob:"} <= set(rules)
    assert "unsafe-eval" not in policy.group(1)


def test_page_refers_to_nothing_outside_itself(read: Page):
    links = [value for _, attrs in read.elements for name, value in attrs if name in ("src", "href", "action", "style")]
    assert all(value is not None and value.startswith("#") for value in links)


def test_host_and_paths_of_the_machine_stay_out_of_the_page(source: str):
    assert "threads" in source
    assert "box-17" not in source
    assert "/home/someone" not in source


def test_same_run_gives_the_same_bytes():
    assert reporter.render(view(30)) == reporter.render(view(30))


def test_only_the_timing_table_depends_on_time(source: str):
    later = page(dataclasses.replace(RUN, timings=(("audit", 1.0), ("train", 9999.0))), BUNDLE)
    cut = [re.sub(r'<table class="timings">.*?</table>', "", each, flags=re.DOTALL) for each in (source, later)]
    assert source != later
    assert cut[0] == cut[1]


def test_thousand_samples_of_eight_candidates_stay_below_four_megabytes():
    rng = np.random.default_rng(1)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    # Harder to pack than English.
    words = np.array(["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(20_000)])
    run = view(1000, extra_arms=5)
    rows = [
        dataclasses.replace(each, outputs={arm: " ".join(rng.choice(words, 30)) for arm in each.outputs})
        for each in run.rows
    ]
    written = reporter.render(dataclasses.replace(run, rows=rows))["report.html"]
    assert len(payload(written.decode())["rows"]) == 1000  # type: ignore[arg-type]
    assert len(written) < 4_000_000


def test_large_runs_are_sampled_and_say_so():
    found = page(view(2400), BUNDLE)
    assert "2000 of 2400 samples" in Page(found).text
    assert "results.parquet" in Page(found).text
    assert len(payload(found)["rows"]) == 2000  # type: ignore[arg-type]


def test_long_answers_take_fewer_samples_not_more_bytes():
    rng = np.random.default_rng(3)
    rows = [dataclasses.replace(row(i, rng, ("base-0shot", "tuned")), prompt="p" * 50_000) for i in range(1900)]
    found = payload(page(dataclasses.replace(RUN, rows=rows), BUNDLE))
    assert 1000 < len(found["rows"]) < 1900  # type: ignore[arg-type]


def test_smallest_run_still_gives_a_page():
    assert "Nothing was compared." in Page(page(empty(), BUNDLE)).text


def test_every_optional_may_be_none():
    bare = dataclasses.replace(RUN, result=without(RUN.result), audit=without(RUN.audit))
    assert "not estimated" in Page(page(bare, BUNDLE)).text


def test_one_checkpoint_and_no_slices():
    records = tuple(dataclasses.replace(record, slices={}) for record in RUN.result.evaluations)
    bare = dataclasses.replace(RUN.result, slices=(), evaluations=records)
    result = dataclasses.replace(bare, checkpoints=RUN.result.checkpoints[:1])
    found = page(dataclasses.replace(RUN, result=result), BUNDLE)
    assert 'id="slices"' not in found
    charts = payload(found)["charts"]
    assert "error_y" in str(charts["score"])  # type: ignore[index]


def test_undefined_numbers_are_said_to_be_undefined():
    record = RUN.result.evaluations[0]
    estimate = dataclasses.replace(record.estimates[0], value=None, low=None, high=None, undefined="one class only")
    records = (dataclasses.replace(record, estimates=(estimate,)), *RUN.result.evaluations[1:])
    run = dataclasses.replace(RUN, result=dataclasses.replace(RUN.result, evaluations=records))
    assert "– one class only" in Page(page(run, BUNDLE)).text


def test_nan_in_curves_and_scores_is_a_gap():
    checkpoint = dataclasses.replace(RUN.result.checkpoints[0], train_loss=float("nan"))
    result = dataclasses.replace(RUN.result, checkpoints=(checkpoint, *RUN.result.checkpoints[1:]))
    found = page(dataclasses.replace(RUN, result=result), BUNDLE)
    assert "NaN" not in str(payload(found)["charts"])
    assert payload(found)["charts"]["loss"]["data"][0]["y"][0] is None  # type: ignore[index]
