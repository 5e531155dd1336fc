"""Table B, the rows that the audit decides: B8, B9, B11-B15, B17-B19, and D6, D8 of lengths."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.audit import droppable
from harness.audit.near import near_pairs
from harness.core.records import AuditRecord, Finding
from harness.core.types import SPLITS
from harness.data.fold import fold

Check = Callable[..., AuditRecord]

TRAIN = [(f"train question {n}", f"train answer {n}") for n in range(30)]
VALIDATION = [(f"validation question {n}", f"validation answer {n}") for n in range(30)]
TEST = [(f"test question {n}", f"test answer {n}") for n in range(30)]
LONG = "the quick brown fox jumps over the lazy dog while seven more dogs watch it run away"


def test_clean_data_has_no_findings(check: Check):
    record = check(TRAIN, TEST, VALIDATION)
    assert record.findings == ()
    assert record.leaked_test_ids == ()


@pytest.mark.parametrize(
    "row", [("a <|im_end|> b", "x"), ("a", "<|im_end|> x"), ("a", "x </s> y")], ids=["prompt", "start", "middle"]
)
def test_b8_control_tokens_as_text_are_fatal(check: Check, row: tuple[str, str]):
    record = check([*TRAIN, row], TEST, VALIDATION)
    finding = only(record, "E-SPECIAL-IN-TEXT")
    assert finding.severity == "fatal"
    assert finding.ids == ("train-31",)
    assert finding.examples[0].startswith("train.jsonl:31 (train-31): '")
    assert "--drop-bad" in finding.fix
    assert droppable(record) == {"train-31": "E-SPECIAL-IN-TEXT"}


def test_b9_reference_that_ends_with_the_end_token_is_a_counted_warning(check: Check):
    record = check([(prompt, answer + "</s>") for prompt, answer in TRAIN], TEST, VALIDATION)
    finding = only(record, "E-EOS-IN-TEXT")
    assert (finding.severity, finding.count) == ("warning", 30)
    assert "30 of 90 (33.3 %) references end with a control token as text" in finding.what
    assert "stand there twice" in finding.fix
    assert record.fatal == ()


def test_b11_one_class_in_train_is_fatal(check: Check):
    record = check([(p, "yes") for p, _ in TRAIN], TEST[:0] + labelled("test"), labelled("validation"))
    finding = only(record, "E-ONECLASS")
    assert finding.severity == "fatal"
    assert "all 30 train rows have the answer 'yes'" in finding.what


def test_b11_one_class_in_test_leaves_metrics_undefined(check: Check):
    record = check(labelled("train"), [(p, "yes") for p, _ in TEST], labelled("validation"))
    finding = only(record, "E-ONECLASS")
    assert finding.severity == "warning"
    assert "metrics that need two classes are undefined" in finding.what


def test_b12_class_of_test_that_train_never_shows(check: Check):
    record = check(labelled("train"), [*labelled("test"), ("new", "maybe")], labelled("validation"))
    finding = only(record, "E-UNSEEN-CLASS")
    assert (finding.severity, finding.ids) == ("warning", ("test-31",))
    assert "1 of 31 (3.2 %) test rows have an answer that train never shows: maybe" in finding.what


def test_b12_labels_of_the_task_make_any_references_classes(check: Check):
    rows = [("a", "x"), ("b", "y")]
    record = check(rows, [("c", "z")], [("d", "x"), ("e", "y")], labels=["x", "y", "z"])
    assert only(record, "E-UNSEEN-CLASS").ids == ("test-1",)


def test_b13_leaks_are_counted_raw_stripped_and_folded(check: Check):
    leaking = [("train question 0", "train answer 0"), (" train question 1", "x"), ("Train: QUESTION 2?", "y")]
    record = check(TRAIN, [*leaking, *TEST], VALIDATION)
    finding = only(record, "E-LEAK")
    assert finding.severity == "warning"
    assert finding.ids == record.leaked_test_ids == ("test-1", "test-2", "test-3")
    assert (
        "3 of 33 (9.1 %) test rows ask a question that was there before (3 in train, 0 in validation)" in finding.what
    )
    assert "1 letter for letter, 2 but for outer blanks, 3 but for case" in finding.what
    assert "2 of them with another answer" in finding.what
    assert finding.examples[2] == "test.jsonl:3 (test-3): 'Train: QUESTION 2?' as train.jsonl:3 (train-3)"


def test_b13_test_rows_that_stand_in_validation_are_leaked_too(check: Check):
    record = check(TRAIN, [VALIDATION[0], *TEST], VALIDATION)
    assert record.leaked_test_ids == ("test-1",)
    assert "(0 in train, 1 in validation)" in only(record, "E-LEAK").what


def test_b13_validation_rows_that_stand_in_train(check: Check):
    record = check(TRAIN, TEST, [TRAIN[0], *VALIDATION])
    finding = only(record, "E-LEAK")
    assert finding.ids == ("validation-1",)
    assert record.leaked_test_ids == ()


@pytest.mark.parametrize(
    "text",
    ["Well: " + LONG + " again", " ".join(sorted(LONG.split(), key=lambda word: word[::-1]))],
    ids=["13-gram", "permuted"],
)
def test_b13_near_duplicates_are_listed_apart_and_not_counted_as_leaked(check: Check, text: str):
    record = check([*TRAIN, (LONG, "x")], [*TEST, (text, "x")], VALIDATION)
    finding = only(record, "E-NEAR")
    assert (finding.severity, finding.ids) == ("warning", ("test-31",))
    assert "as train.jsonl:31 (train-31)" in finding.examples[0]
    assert record.leaked_test_ids == ()


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        (
            "请告诉我昨天在会议上讨论的那个项目什么时候可以完成",
            "你好!请告诉我昨天在会议上讨论的那个项目什么时候可以完成?谢谢",
        ),
        ("กรุณาบอกฉันว่าโครงการจะเสร็จเมื่อไหร่", "สวัสดี กรุณาบอกฉันว่าโครงการจะเสร็จเมื่อไหร่ ขอบคุณ"),
    ],
    ids=["Chinese", "Thai"],
)
def test_b13_near_duplicates_are_found_in_scripts_without_spaces(known: str, asked: str):
    """Cut at white space, such a sentence is one word, and no run of thirteen is in it."""
    others = [
        "今天天气很好我们去公园散步吧然后一起吃晚饭好吗朋友",
        "这本书的作者是谁并且它是在哪一年第一次出版的呢请问",
    ]
    assert near_pairs([fold(asked), fold(others[1])], [fold(others[0]), fold(known)]) == {0: 1}


def test_b13_words_common_to_all_prompts_are_no_near_duplicates(check: Check):
    rows = {split: [(f"{LONG} {split} {n}", f"{split} {n}") for n in range(30)] for split in SPLITS}
    assert check(rows["train"], rows["test"], rows["validation"]).findings == ()


def test_b14_repeats_inside_test_are_counted(check: Check):
    record = check(TRAIN, [*TEST, ("Test question 0?", "test answer 0")], VALIDATION)
    finding = only(record, "E-DUP")
    assert (finding.severity, finding.ids) == ("warning", ("test-31",))
    assert "1 of 31 (3.2 %) test rows repeat the question of an earlier row" in finding.what
    assert "data.group" in finding.fix


@pytest.mark.parametrize(
    ("missing", "code"), [("train", "E-NOTRAIN"), ("validation", "E-NOVALIDATION"), ("test", "E-NOTEST")]
)
def test_b15_missing_split_is_fatal(check: Check, missing: str, code: str):
    rows = {"train": TRAIN, "validation": VALIDATION, "test": TEST, missing: []}
    finding = only(check(**rows), code)
    assert finding.severity == "fatal"
    assert "'toy' has no" in finding.what


def test_b15_no_validation_is_accepted_when_the_last_checkpoint_is_taken(check: Check):
    record = check(TRAIN, TEST, [], selection_rule="last")
    assert "E-NOVALIDATION" not in {finding.code for finding in record.findings}
    assert "select.rule=last" in only(check(TRAIN, TEST, []), "E-NOVALIDATION").fix


@pytest.mark.parametrize(("n", "says"), [(1, "test has only 1 row:"), (19, "test has only 19 rows:")])
def test_b15_few_test_rows(check: Check, n: int, says: str):
    finding = only(check(TRAIN, TEST[:n], VALIDATION), "E-SMALL")
    assert finding.severity == "warning"
    assert says in finding.what


def test_b17_conflicting_labels_and_the_ceiling(check: Check):
    # Of 32 test rows, four ask one question with the answers yes, yes, yes, no: 31 of 32 can be right.
    test = [*labelled("test")[:28], ("same?", "yes"), ("Same", "yes"), ("same!", "yes"), ("same", "no")]
    finding = only(check(labelled("train"), test, labelled("validation")), "E-LABEL-CONFLICT")
    assert finding.severity == "warning"
    assert "4 of 92 (4.3 %) rows" in finding.what
    assert "test 96.9 %" in finding.what
    assert "'same?' has no, yes" in finding.examples[0]


def test_b17_free_text_that_differs_is_only_a_note(check: Check):
    finding = only(check([*TRAIN, ("train question 0", "another")], TEST, VALIDATION), "E-LABEL-CONFLICT", "note")
    assert finding.count == 2


def test_b18_outlier(check: Check):
    record = check([*TRAIN, ("word " * 1000, "x")], TEST, VALIDATION)
    finding = only(record, "E-OUTLIER")
    assert (finding.severity, finding.ids) == ("warning", ("train-31",))
    assert "5,001 characters" in finding.examples[0]


def test_b18_identical_prompts(check: Check):
    record = check([("Classify.", answer) for _, answer in TRAIN], TEST, VALIDATION)
    finding = only(record, "E-SAME-PROMPT")
    assert "30 of 30 (100.0 %) train rows have the same prompt" in finding.what
    assert "{field}" in finding.fix


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ab\u202ecd", "ab\\u202ecd"),
        ("ab\u200bcd", "ab\\u200bcd"),
        ("ab\U000e0041", "ab\\U000e0041"),
        ("a\x1b[31m", "a\\x1b[31m"),
    ],
    ids=["bidi", "zero-width", "tag", "ansi"],
)
def test_b18_invisible_characters_are_shown_escaped(check: Check, text: str, shown: str):
    finding = only(check([*TRAIN, (text, "x")], TEST, VALIDATION), "E-INVISIBLE")
    assert finding.examples == (f"train.jsonl:31 (train-31): '{shown}'",)


@pytest.mark.parametrize("text", ["می‌خواهم", "👩‍🚀", "two\r\nlines\tand a tab"], ids=["zwnj", "zwj", "blanks"])
def test_b18_joiners_and_line_ends_are_ordinary_text(check: Check, text: str):
    assert check([*TRAIN, (text, "x")], TEST, VALIDATION).findings == ()


def test_b19_fewer_training_rows_than_shots(check: Check):
    finding = only(check(TRAIN[:3], TEST, VALIDATION, shots=(0, 4)), "E-FEWSHOT")
    assert finding.severity == "fatal"
    assert "asks for 4 examples, but train has only 3" in finding.what
    assert finding.fix.startswith("set prompting.shots to at most 3")


def test_b19_exactly_as_many_training_rows_as_shots(check: Check):
    assert check(TRAIN[:4], TEST, VALIDATION, shots=(0, 4)).fatal == ()


def test_b19_duplicates_of_a_sample_cannot_be_its_shots(check: Check):
    record = check(TRAIN[:4], [TRAIN[0], *TEST], VALIDATION, shots=(0, 4))
    assert "train has only 3 that may be shown" in only(record, "E-FEWSHOT").what


def test_d6_training_rows_that_do_not_fit_block_and_can_be_dropped(check: Check):
    record = check([*TRAIN, (LONG, LONG)], TEST, VALIDATION, context_length=34, max_tokens=4)
    finding = only(record, "E-TOOLONG")
    assert finding.severity == "fatal"
    assert "1 of 31 (3.2 %) train rows do not fit: prompt and reference exceed the context of 34 tokens" in finding.what
    assert finding.examples[0].endswith("(train-31): 35 tokens")
    assert droppable(record) == {"train-31": "E-TOOLONG"}


def test_d6_test_prompts_that_do_not_fit_become_failures(check: Check):
    record = check(TRAIN, [*TEST, (LONG, "x")], VALIDATION, context_length=20, max_tokens=4)
    finding = only(record, "E-TOOLONG")
    assert (finding.severity, finding.ids) == ("warning", ("test-31",))
    assert "counted as failures" in finding.what
    assert "a context of 21 or more" in finding.fix


def test_d8_references_that_cannot_be_produced(check: Check):
    record = check(TRAIN, [*TEST, ("q", "one two three four five")], VALIDATION, max_tokens=4)
    finding = only(record, "E-LONG-REFERENCE")
    assert "1 of 31 (3.2 %) test references cannot be produced" in finding.what
    assert finding.fix == "set generation.max_tokens to 6 or more"


def test_d8_end_token_is_no_part_of_the_answer(check: Check):
    assert check(TRAIN, [*TEST, ("q", "one two three four")], VALIDATION, max_tokens=4).findings == ()


def test_rows_that_train_on_other_tokens_than_inference_are_fatal(check: Check):
    record = check(TRAIN, TEST, VALIDATION, row_problems={"train-3": "the template strips blanks"})
    finding = only(record, "E-MASK")
    assert (finding.severity, finding.ids) == ("fatal", ("train-3",))
    assert finding.examples == ("train.jsonl:3 (train-3): the template strips blanks",)
    assert droppable(record) == {"train-3": "E-MASK"}


def labelled(split: str) -> list[tuple[str, str]]:
    return [(f"{split} question {n}", "yes" if n % 2 else "no") for n in range(30)]


def only(record: AuditRecord, code: str, severity: str | None = None) -> Finding:
    found = [finding for finding in record.findings if finding.code == code and severity in (None, finding.severity)]
    assert len(found) == 1, record.findings
    return found[0]


def test_b12_many_numbers_are_quantities_not_classes(check: Check):
    def rows(first: int) -> list[tuple[str, str]]:
        return [(f"order {first + i}", str((first + i) % 15)) for i in range(80)]

    assert not any(f.code == "E-UNSEEN-CLASS" for f in check(rows(0), [("order x", "99")], rows(200)).findings)
    stars = [(f"review {i}", str(i % 5)) for i in range(60)]
    assert only(check(stars, [("review x", "9")], [("review y", "1"), ("review z", "2")]), "E-UNSEEN-CLASS").count == 1
