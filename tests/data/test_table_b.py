"""Table B, the rows that reading decides: B1-B7 and B10. The others are in tests/audit."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from harness.core.records import Finding
from harness.core.types import Message
from harness.data import Dataset

GOOD = [{"prompt": "one", "completion": "a"}, {"prompt": "two", "completion": "b"}]
LABELS = {"labels": ["billing", "refund", "other"]}


def turns(*pairs: tuple[str, object]) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


GOOD_TURNS = [turns(("user", "one"), ("assistant", "a")), turns(("user", "two"), ("assistant", "b"))]
AS_IS: dict[str, object] = {}
COLUMNS = {"prompt": "{q}", "reference": "{a}"}
GOOD_COLUMNS = [{"q": "one", "a": "a"}, {"q": "two", "a": "b"}]


class Case(NamedTuple):
    id: str
    row: dict[str, object]
    code: str
    sentence: str
    data: dict[str, object] = AS_IS
    before: list[dict[str, object]] = GOOD


def messages(id_: str, *pairs: tuple[str, object], says: str) -> Case:
    return Case(id_, turns(*pairs), "E-ROLE", says, before=GOOD_TURNS)


BAD_ROWS = [
    Case("B1-missing", {"completion": "a"}, "E-FIELD", "no field 'prompt'; the row has: completion"),
    Case("B1-empty", {"prompt": "", "completion": "a"}, "E-FIELD", "the prompt is empty or blank"),
    Case("B1-blank", {"prompt": " \n\t", "completion": "a"}, "E-FIELD", "the prompt is empty or blank"),
    Case("B1-nothing", {}, "E-FIELD", "the row has: no fields"),
    Case("B1-template", {"a": "x"}, "E-FIELD", "no field 'q'", COLUMNS, GOOD_COLUMNS),
    Case("B1-template-empty", {"q": " ", "a": "x"}, "E-FIELD", "the prompt is empty", COLUMNS, GOOD_COLUMNS),
    Case("B2-missing", {"prompt": "q"}, "E-FIELD", "no field 'completion'"),
    Case("B2-no-references", {"prompt": "q", "references": []}, "E-FIELD", "the list of references is empty"),
    Case("B2-template", {"q": "x"}, "E-FIELD", "no field 'a'", COLUMNS, GOOD_COLUMNS),
    Case("B3-empty", {"prompt": "q", "completion": ""}, "E-EMPTY-COMPLETION", "teaches to answer nothing"),
    Case("B3-blank", {"prompt": "q", "completion": " \n"}, "E-EMPTY-COMPLETION", "empty or blank"),
    Case("B3-one-of-many", {"prompt": "q", "references": ["a", ""]}, "E-EMPTY-COMPLETION", "empty or blank"),
    Case("B4-number", {"prompt": 3, "completion": "a"}, "E-TYPE", "field 'prompt' is a number, not a string"),
    Case("B4-boolean", {"prompt": "q", "completion": True}, "E-TYPE", "'completion' is a boolean, not a string"),
    Case("B4-null", {"prompt": None, "completion": "a"}, "E-FIELD", "no field 'prompt'"),
    Case("B4-list", {"prompt": "q", "completion": ["a"]}, "E-TYPE", "field 'completion' is a list, not a string"),
    Case("B4-object", {"prompt": {}, "completion": "a"}, "E-TYPE", "field 'prompt' is an object, not a string"),
    Case("B4-references", {"prompt": "q", "references": ["a", 1]}, "E-TYPE", "item 1 of 'references' is a number"),
    Case("B4-references-text", {"prompt": "q", "references": "a"}, "E-TYPE", "not a list of strings"),
    Case("B4-template-null", {"q": None, "a": "x"}, "E-FIELD", "no field 'q'", COLUMNS, GOOD_COLUMNS),
    Case("B4-template-boolean", {"q": "x", "a": False}, "E-TYPE", "field 'a' is a boolean", COLUMNS, GOOD_COLUMNS),
    Case("B4-id", {"id": 1.5, "prompt": "q", "completion": "a"}, "E-TYPE", "field 'id' is a number"),
    Case("B4-id-empty", {"id": " ", "prompt": "q", "completion": "a"}, "E-FIELD", "the id (field 'id') is empty"),
    Case("B4-messages", {"messages": "hello"}, "E-TYPE", "'messages' is a string, not a list", before=GOOD_TURNS),
    messages("B7-unknown-role", ("user", "q"), ("bot", "a"), says="message 1 has the role 'bot'"),
    messages("B7-empty", says="'messages' is an empty list"),
    messages("B7-assistant-first", ("assistant", "a"), ("user", "q"), says="message 0 is the assistant's"),
    messages("B7-two-users", ("user", "q"), ("user", "q"), ("assistant", "a"), says="message 1 is the user's"),
    messages("B7-ends-with-user", ("user", "q"), ("assistant", "a"), ("user", "q"), says="the last message (2)"),
    messages("B7-system-late", ("user", "q"), ("system", "s"), ("assistant", "a"), says="message 1 is the system's"),
    messages("B7-only-system", ("system", "s"), says="so the row has no answer"),
    messages("B7-part", ("user", [{"type": "text"}]), ("assistant", "a"), says="the text of part 0 of message 0"),
    messages("B7-content-null", ("user", "q"), ("assistant", None), says="the content of message 1 is null"),
    Case("B7-not-objects", {"messages": ["q", "a"]}, "E-ROLE", "message 0 is a string", before=GOOD_TURNS),
    Case(
        "B7-tool-calls",
        {"messages": [{"role": "user", "content": "q", "tool_calls": []}]},
        "E-ROLE",
        "message 0 has a field 'tool_calls', which would be lost",
        before=GOOD_TURNS,
    ),
    Case("B10-case", {"prompt": "q", "completion": "Billing"}, "E-LABEL", "near: 'billing'", LABELS, []),
    Case("B10-space", {"prompt": "q", "completion": "refund "}, "E-LABEL", "near: 'refund'", LABELS, []),
    Case("B10-unknown", {"prompt": "q", "completion": "xyz"}, "E-LABEL", "is not one of the 3 labels", LABELS, []),
]  # fmt: skip


@pytest.mark.parametrize("case", BAD_ROWS, ids=lambda case: case.id)
def test_bad_row_is_a_finding_with_code_line_and_sentence(read_rows: Callable[..., Dataset], case: Case):
    dataset = read_rows(*case.before, case.row, **case.data)
    finding = only(dataset, case.code)
    assert finding.severity == "fatal"
    assert finding.examples[0].startswith(f"rows.jsonl:{len(case.before) + 1} (")
    assert case.sentence in finding.what
    assert finding.fix
    assert dataset.record.n_dropped == {case.code: 1}


@pytest.mark.parametrize("case", BAD_ROWS, ids=lambda case: case.id)
def test_bad_row_is_left_out_when_asked(read_rows: Callable[..., Dataset], case: Case):
    dataset = read_rows(*case.before, case.row, drop_bad=True, **case.data)
    assert only(dataset, case.code).severity == "warning"
    assert sum(dataset.record.n_samples.values()) == len(case.before)


def test_b3_empty_references_are_accepted_when_the_task_says_so(read_rows: Callable[..., Dataset]):
    dataset = read_rows({"prompt": "q", "completion": ""}, allow_empty=True)
    assert dataset.samples[0].references == ("",)


def test_all_problems_of_a_row_are_told_and_the_row_is_counted_once(read_rows: Callable[..., Dataset]):
    dataset = read_rows({"id": [], "prompt": 1, "completion": " "})
    assert {finding.code for finding in dataset.findings} == {"E-TYPE", "E-EMPTY-COMPLETION"}
    assert only(dataset, "E-TYPE").count == 2
    assert dataset.record.n_dropped == {"E-TYPE": 1}


def test_b5_same_id_with_other_content_is_fatal_and_names_both_lines(read_rows: Callable[..., Dataset]):
    dataset = read_rows({"id": 7, **GOOD[0]}, {"id": "7", **GOOD[1]})
    finding = only(dataset, "E-DUPID")
    assert finding.severity == "fatal"
    assert "rows.jsonl:2 (7): id '7' already stands at rows.jsonl:1, with different content" in finding.examples[0]


def test_b5_repeated_row_is_left_out_with_a_warning(read_rows: Callable[..., Dataset]):
    dataset = read_rows({"id": "7", **GOOD[0]}, {"id": "7", **GOOD[0]})
    assert only(dataset, "E-DUPID").severity == "warning"
    assert dataset.record.n_dropped == {"E-DUPID": 1}


def test_b5_one_row_in_two_splits_is_fatal(read_train: Callable[..., Dataset]):
    row = b'{"id": "test-1", "prompt": "another", "completion": "yes"}\n'
    assert only(read_train(row, id="id"), "E-DUPID").severity == "fatal"


@pytest.mark.parametrize(
    ("one", "two"), [("Row-1", "row-1"), ("caf\u00e9", "cafe\u0301"), ("a", "a ")], ids=["case", "nfd", "blank"]
)
def test_b6_ids_easily_taken_for_each_other(read_rows: Callable[..., Dataset], one: str, two: str):
    dataset = read_rows({"id": one, **GOOD[0]}, {"id": two, **GOOD[1]})
    finding = only(dataset, "E-ID-CONFUSABLE")
    assert finding.severity == "warning"
    assert ascii(one) in finding.what
    assert ascii(two) in finding.what
    assert len(dataset.samples) == 2


def test_b7_error_states_the_accepted_order(read_rows: Callable[..., Dataset]):
    finding = only(read_rows(turns(("assistant", "a"))), "E-ROLE")
    assert "an optional system turn, then user and assistant by turns, ending with assistant" in finding.fix


def test_conversation_keeps_earlier_turns_and_its_last_answer_is_the_reference(read_rows: Callable[..., Dataset]):
    row = turns(("system", "s"), ("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4"))
    sample = read_rows(row).samples[0]
    assert [turn.role for turn in sample.messages] == ["system", "user", "assistant", "user"]
    assert sample.references == ("4",)
    assert sample.question == "1\n2\n3"


def test_conversation_in_a_field_of_another_name(read_rows: Callable[..., Dataset]):
    row = {"chat": turns(("user", "1"), ("assistant", "2"))["messages"], "topic": "t"}
    sample = read_rows(row, messages="chat").samples[0]
    assert sample.messages == (Message("user", "1"),)
    assert sample.metadata == {"topic": "t"}


def test_several_references_beside_a_completion(read_rows: Callable[..., Dataset]):
    sample = read_rows({"prompt": "q", "completion": "a", "references": ["b", "a"]}).samples[0]
    assert sample.references == ("a", "b")


def test_columns_with_system_list_of_references_group_and_slice(read_rows: Callable[..., Dataset]):
    row = {"key": 5, "q": {"text": "why?"}, "n": 2, "answers": ["x", "y"], "tone": "kind", "customer": 9, "extra": None}
    sample = read_rows(
        row,
        prompt="{n}: {q.text}",
        reference="{answers}",
        system="Be {tone}.",
        id="key",
        group="customer",
        slices=("tone",),
    ).samples[0]
    assert sample.messages == (Message("system", "Be kind."), Message("user", "2: why?"))
    assert sample.references == ("x", "y")
    assert (sample.id, sample.group) == ("5", "9")
    assert sample.metadata == {"tone": "kind", "customer": 9}
    assert sample.origin == "rows.jsonl:1"


def test_missing_group_is_an_error_of_the_row(read_rows: Callable[..., Dataset]):
    finding = only(read_rows({"grup": "x", **GOOD[0]}, group="group"), "E-FIELD")
    assert "did you mean 'grup'?" in finding.fix


def test_a_group_that_nothing_resembles_is_mended_in_data_group(read_rows: Callable[..., Dataset]):
    finding = only(read_rows(GOOD[0], group="nothere"), "E-FIELD")
    assert "data.group" in finding.fix
    assert "question" not in finding.fix


def test_slice_that_no_row_has_is_fatal(read_rows: Callable[..., Dataset]):
    finding = only(read_rows({"language": "de", **GOOD[0]}, slices=("langage",)), "E-FIELD")
    assert "metrics.slices names 'langage'" in finding.what
    assert "did you mean 'language'?" in finding.fix


def test_rows_without_id_are_named_after_split_and_number(read_train: Callable[..., Dataset]):
    dataset = read_train(b'\n{"prompt": "q", "completion": "a"}\n')
    assert {sample.id for sample in dataset.samples} == {"train-1", "test-1"}


def only(dataset: Dataset, code: str) -> Finding:
    found = [finding for finding in dataset.findings if finding.code == code and finding.severity != "note"]
    assert len(found) == 1, dataset.findings
    return found[0]
