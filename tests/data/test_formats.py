"""Formats of rows: how each published way of writing a row is understood, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from harness.core.errors import HarnessError
from harness.core.records import Finding
from harness.core.types import Message
from harness.data import Dataset

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"
TALK = (Message(SYSTEM, "Be brief."), Message(USER, "2 + 2?"), Message(ASSISTANT, "4"), Message(USER, "Sure?"))


def parts(*texts: str) -> list[dict[str, str]]:
    return [{"text": text} for text in texts]


def content(role: str, *texts: str) -> dict[str, object]:
    return {"role": role, "parts": parts(*texts)}


def said(role: str, text: object) -> dict[str, object]:
    return {"role": role, "content": text}


def spoke(speaker: str, text: object) -> dict[str, object]:
    return {"from": speaker, "value": text}


ONE_TALK = {
    "messages": {
        "messages": [said(SYSTEM, "Be brief."), said(USER, "2 + 2?"), said(ASSISTANT, "4"), said(USER, "Sure?"),
                     said(ASSISTANT, "Yes.")],
    },
    "gemini": {
        "systemInstruction": {"role": "system", "parts": parts("Be brief.")},
        "contents": [content(USER, "2 + 2?"), content("model", "4"), content(USER, "Sure?"), content("model", "Yes.")],
    },
    "prompt-completion": {
        "prompt": [said(SYSTEM, "Be brief."), said(USER, "2 + 2?"), said(ASSISTANT, "4"), said(USER, "Sure?")],
        "completion": [said(ASSISTANT, "Yes.")],
    },
    "alpaca": {
        "system": "Be brief.", "instruction": "Sure?", "input": "", "output": "Yes.", "history": [["2 + 2?", "4"]],
    },
    "sharegpt": {
        "conversations": [spoke(SYSTEM, "Be brief."), spoke("human", "2 + 2?"), spoke("gpt", "4"),
                          spoke("human", "Sure?"), spoke("gpt", "Yes.")],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_TALK)
def test_one_conversation_in_every_format_is_told_by_its_fields(read_rows: Callable[..., Dataset], name: str):
    dataset = read_rows({**ONE_TALK[name], "topic": "sums"})
    assert dataset.record.format == name
    sample = dataset.samples[0]
    assert sample.messages == TALK
    assert sample.references == ("Yes.",)
    assert sample.metadata == {"topic": "sums"}


@pytest.mark.parametrize("name", ONE_TALK)
def test_every_format_takes_further_references(read_rows: Callable[..., Dataset], name: str):
    sample = read_rows({**ONE_TALK[name], "references": ["Yes!", "Yes."]}).samples[0]
    assert sample.references == ("Yes.", "Yes!")


@pytest.mark.parametrize("name", ONE_TALK)
def test_a_named_format_decides_where_fields_fit_several(read_rows: Callable[..., Dataset], name: str):
    other = next(key for key in ONE_TALK if key != name)
    row = {**ONE_TALK[other], **ONE_TALK[name]}
    assert only(read_rows(row), "E-SCHEMA-MIX").fix.startswith("say which in task.toml")
    assert read_rows(row, format=name).samples[0].messages == TALK


ALIKE = {
    "messages with text parts": {
        "messages": [
            said(USER, [{"type": "text", "text": "2 +"}, {"type": "text", "text": " 2?"}]),
            said(ASSISTANT, "4"),
        ]
    },
    "gemini with several parts": {"contents": [content(USER, "2 +", " 2?"), content("model", "4")]},
    "prompt of messages, completion a text": {"prompt": [said(USER, "2 + 2?")], "completion": "4"},
    "alpaca without input": {"instruction": "2 + 2?", "output": "4"},
    "alpaca with null input": {"instruction": "2 + 2?", "input": None, "output": "4", "system": None, "history": None},
    "sharegpt with the other names": {"conversations": [spoke(USER, "2 + 2?"), spoke(ASSISTANT, "4")]},
    "null members are absent": {"messages": [{**said(USER, "2 + 2?"), "name": None}, said(ASSISTANT, "4")]},
}  # fmt: skip


@pytest.mark.parametrize("row", ALIKE.values(), ids=list(ALIKE))
def test_other_spellings_say_the_same(read_rows: Callable[..., Dataset], row: dict[str, object]):
    sample = read_rows(row).samples[0]
    assert (sample.messages, sample.references) == ((Message(USER, "2 + 2?"),), ("4",))


def test_gemini_system_instruction_in_snake_case(read_rows: Callable[..., Dataset]):
    row = {"system_instruction": {"parts": parts("Be", " brief.")}, "contents": ONE_TALK["gemini"]["contents"]}
    assert read_rows(row).samples[0].messages == TALK


def test_alpaca_input_stands_a_blank_line_below_the_instruction(read_rows: Callable[..., Dataset]):
    sample = read_rows({"instruction": "Translate.", "input": "Guten Tag", "output": "Good day"}).samples[0]
    assert sample.question == "Translate.\n\nGuten Tag"


def test_a_system_template_that_comes_out_empty_gives_no_system_turn(read_rows: Callable[..., Dataset]):
    rows = [{"q": str(n), "a": "x", "s": "Be kind." if n else ""} for n in range(2)]
    dataset = read_rows(*rows, prompt="{q}", reference="{a}", system="{s}")
    assert {sample.messages[0].role for sample in dataset.samples} == {"system", "user"}


class Bad(NamedTuple):
    id: str
    row: dict[str, object]
    code: str
    says: str


def gemini(*contents: object, **fields: object) -> dict[str, object]:
    return {"contents": list(contents), **fields}


def sharegpt(*turns: object, **fields: object) -> dict[str, object]:
    return {"conversations": list(turns), **fields}


ASK, ANSWER = content(USER, "q"), content("model", "a")
BAD_ROWS = [
    Bad("openai-weight", {"messages": [said(USER, "q"), {**said(ASSISTANT, "a"), "weight": 0}]}, "E-ROLE", "a weight"),
    Bad("openai-image", {"messages": [said(USER, [{"type": "image_url", "image_url": {}}])]}, "E-ROLE", "'image_url'"),
    Bad("openai-part-text", {"messages": [said(USER, ["q"])]}, "E-ROLE", "part 0 of message 0 is a string"),
    Bad("openai-no-parts", {"messages": [said(USER, [])]}, "E-ROLE", "the content of message 0 is a list"),
    Bad("openai-call", {"messages": [{**said(ASSISTANT, None), "function_call": {}}]}, "E-ROLE", "'function_call'"),
    Bad("openai-tools", {**ONE_TALK["messages"], "tools": [{"type": "function"}]}, "E-ROLE", "defines 'tools'"),
    Bad("gemini-ends-with-user", gemini(ASK), "E-ROLE", "the last content (0) is the user's, so the row has no answer"),
    Bad("gemini-two-users", gemini(ASK, ASK, ANSWER), "E-ROLE", "content 1 is the user's where the model's is due"),
    Bad("gemini-begins-with-model", gemini(ANSWER), "E-ROLE", "content 0 is the model's where the user's is due"),
    Bad("gemini-assistant", gemini(ASK, content(ASSISTANT, "a")), "E-ROLE", "has the role 'assistant'; user and model"),
    Bad("gemini-no-role", gemini({"parts": parts("q")}, ANSWER), "E-ROLE", "content 0 has the role 'None'"),
    Bad("gemini-empty-parts", gemini({"role": USER, "parts": []}, ANSWER), "E-ROLE", "of content 0 are an empty list"),
    Bad("gemini-no-parts", gemini({"role": USER}, ANSWER), "E-ROLE", "the parts of content 0 are null"),
    Bad("gemini-blank", gemini(content(USER, " "), ANSWER), "E-FIELD", "content 0 (user) is empty or blank"),
    Bad("gemini-image", gemini({"role": USER, "parts": [{"inlineData": {}}]}, ANSWER), "E-ROLE", "has 'inlineData'"),
    Bad("gemini-file", gemini({"role": USER, "parts": [{"text": "q", "fileData": {"fileUri": "gs://x"}}]}, ANSWER),
        "E-ROLE", "has 'fileData'; only text"),
    Bad("gemini-call", gemini(ASK, {"role": "model", "parts": [{"functionCall": {}}]}), "E-ROLE", "'functionCall'"),
    Bad("gemini-text-number", gemini({"role": USER, "parts": [{"text": 1}]}, ANSWER), "E-ROLE", "is a number"),
    Bad("gemini-system-text", gemini(ASK, ANSWER, systemInstruction="s"), "E-ROLE", "is a string, not an object"),
    Bad("gemini-system-model", gemini(ASK, ANSWER, systemInstruction=ANSWER), "E-ROLE", "has the role 'model'"),
    Bad("gemini-two-systems",
        gemini(ASK, ANSWER, systemInstruction={"parts": parts("s")}, system_instruction={"parts": parts("s")}),
        "E-ROLE", "both 'systemInstruction' and 'system_instruction'"),
    Bad("gemini-tools", gemini(ASK, ANSWER, tools=[{}]), "E-ROLE", "defines 'tools'"),
    Bad("gemini-empty", gemini(), "E-ROLE", "'contents' is an empty list"),
    Bad("pair-ends-with-assistant", {"prompt": [said(ASSISTANT, "a")], "completion": "b"}, "E-ROLE", "'prompt' is the"),
    Bad("pair-two-answers", {"prompt": "q", "completion": [said(ASSISTANT, "a")] * 2}, "E-ROLE", "is not one message"),
    Bad("pair-user-answers", {"prompt": "q", "completion": [said(USER, "a")]}, "E-ROLE", "is not one message"),
    Bad("alpaca-no-output", {"instruction": "q", "outptu": "a"}, "E-FIELD", "no field 'output'"),
    Bad("alpaca-blank", {"instruction": " ", "input": "\n", "output": "a"}, "E-FIELD", "the instruction is empty"),
    Bad("alpaca-input", {"instruction": "q", "input": 3, "output": "a"}, "E-TYPE", "field 'input' is a number"),
    Bad("alpaca-history", {"instruction": "q", "output": "a", "history": [["q"]]}, "E-ROLE", "item 0 of 'history'"),
    Bad("alpaca-history-text", {"instruction": "q", "output": "a", "history": "q"}, "E-TYPE", "not a list of pairs"),
    Bad("sharegpt-observation", sharegpt(spoke("human", "q"), spoke("observation", "x")), "E-ROLE", "'observation'"),
    Bad("sharegpt-order", sharegpt(spoke("gpt", "a")), "E-ROLE", "turn 0 is the gpt's where the human's is due"),
    Bad("sharegpt-number", sharegpt(spoke("human", 1)), "E-ROLE", "the value of turn 0 is a number"),
    Bad("sharegpt-extra", sharegpt({**spoke("human", "q"), "weight": 0}), "E-ROLE", "'weight', which would be lost"),
    Bad("sharegpt-tools", sharegpt(spoke("human", "q"), tools="[...]"), "E-ROLE", "defines 'tools'"),
]  # fmt: skip


@pytest.mark.parametrize("case", BAD_ROWS, ids=lambda case: case.id)
def test_bad_row_is_a_finding_with_code_and_sentence(read_rows: Callable[..., Dataset], case: Bad):
    dataset = read_rows(case.row)
    finding = only(dataset, case.code)
    assert finding.severity == "fatal"
    assert case.says in finding.what
    assert finding.fix
    assert dataset.record.n_dropped == {case.code: 1}


def test_gemini_errors_state_the_order_in_geminis_own_words(read_rows: Callable[..., Dataset]):
    assert "then user and model by turns, ending with model" in only(read_rows(gemini(ASK)), "E-ROLE").fix


@pytest.mark.parametrize(
    "data",
    [
        {"format": "columns"},
        {"format": "alpaca", "prompt": "{q}", "reference": "{a}"},
        {"format": "sharegpt", "messages": "chat"},
    ],
)
def test_settings_that_contradict_a_format_are_refused(read_rows: Callable[..., Dataset], data: dict[str, str]):
    with pytest.raises(HarnessError) as caught:
        read_rows({"q": "1", "a": "2"}, **data)
    assert caught.value.code == "E-CONFLICT"


def test_mixed_formats_are_counted(read_rows: Callable[..., Dataset]):
    finding = only(read_rows(ONE_TALK["gemini"], ONE_TALK["gemini"], ONE_TALK["alpaca"]), "E-SCHEMA-MIX")
    assert "gemini 2 (first at rows.jsonl:1), alpaca 1 (first at rows.jsonl:3)" in finding.what


def test_nulls_in_metadata_are_absent_at_any_depth_of_objects(read_rows: Callable[..., Dataset]):
    row = {"prompt": "q", "completion": "a", "x": None, "y": {"z": None, "w": [None, {"v": None}]}}
    assert read_rows(row).samples[0].metadata == {"y": {"w": [None, {}]}}


TURNS = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]
PAIR = {"prompt": "2 + 2?", "completion": "4"}


@pytest.mark.parametrize(
    ("row", "same"),
    [
        ({**PAIR, "id": None}, PAIR),
        ({"prompt": "q", "completion": None, "references": ["a"]}, {"prompt": "q", "references": ["a"]}),
        ({**PAIR, "messages": None, "contents": None}, PAIR),
        ({"messages": TURNS, "prompt": None, "completion": None}, {"messages": TURNS}),
    ],
)
def test_a_null_field_is_an_absent_one_as_in_a_table(read_rows: Callable[..., Dataset], row: object, same: object):
    one, other = read_rows(row), read_rows(same)
    assert one.samples
    assert one.samples == other.samples
    assert one.findings == other.findings


def test_a_slice_that_is_null_everywhere_is_one_that_no_row_has(read_rows: Callable[..., Dataset]):
    one, other = (read_rows(row, slices=("lang",)) for row in ({**PAIR, "lang": None}, PAIR))
    assert [f.code for f in one.findings] == [f.code for f in other.findings]
    assert [f.severity for f in one.findings] == ["fatal"]


def test_a_nested_slice_or_group_is_found_by_its_dotted_name(read_rows: Callable[..., Dataset]):
    row = {"prompt": "q", "completion": "a", "about": {"language": "de", "who": "ada"}}
    dataset = read_rows(row, slices=("about.language",), group="about.who")
    sample = dataset.samples[0]
    assert sample.metadata["about.language"] == "de"
    assert sample.group == "ada"
    assert not [finding for finding in dataset.findings if finding.severity == "fatal"]


def only(dataset: Dataset, code: str) -> Finding:
    found = [finding for finding in dataset.findings if finding.code == code and finding.severity != "note"]
    assert len(found) == 1, dataset.findings
    return found[0]
