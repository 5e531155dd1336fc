from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.errors import HarnessError
from harness.scaffold import Proposal, propose
from harness.scaffold.columns import fields_of, roles_of
from harness.scaffold.files import Table
from tests.scaffold.conftest import Write, classes, codes, objects, phrase, replies

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def of(path: Path) -> Proposal:
    return propose({"source": str(path)}, Path())


def published(name: str) -> Proposal:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{name} does not stand beside the checkout")
    return propose({"source": "train.jsonl"}, folder)


def test_intents_are_classified_and_measured_by_macro_f1() -> None:
    proposal = published("banking77")
    assert (proposal.kind, proposal.get("metrics.primary")) == ("classification", "macro_f1")
    labels = proposal.get("data.labels")
    assert isinstance(labels, list)
    assert len(labels) == 77
    assert proposal.n_rows == {"train": 5000, "test": 1000}
    # 77 names are some 1,700 characters: too long to stand in every prompt unasked.
    assert proposal.get("prompting.system") is None
    assert any("77 labels are not listed in the prompt" in doubt for doubt in proposal.doubts)


def test_data_to_text_with_several_references_is_measured_by_bleu() -> None:
    proposal = published("e2e_nlg")
    assert (proposal.kind, proposal.get("metrics.primary")) == ("data to text", "bleu")
    # The training file has one `output` a row, the others a list `outputs`.
    assert proposal.get("data.reference") == "{outputs|output}"
    assert proposal.n_rows == {"train": 5000, "validation": 547, "test": 630}


def test_one_sentence_summaries_are_measured_by_rouge() -> None:
    proposal = published("scitldr_a")
    assert (proposal.kind, proposal.get("metrics.primary")) == ("summarisation", "rouge_l")
    assert proposal.get("metrics.report") == ["rouge_1", "rouge_2"]


def test_slots_as_json_are_measured_field_by_field() -> None:
    proposal = published("restaurant8k")
    assert (proposal.kind, proposal.get("metrics.primary")) == ("extraction", "field_f1")
    assert "last_name" in str(proposal.get("prompting.system"))


def test_every_choice_has_its_reason(write: Write) -> None:
    proposal = of(write("rows.jsonl", classes()))
    assert all(len(choice.reason) > 5 for choice in proposal.choices)
    assert proposal.kind_reason == "3 different references in 120 rows, each short"


def test_fields_get_their_roles(write: Write) -> None:
    proposal = of(write("rows.jsonl", classes()))
    assert proposal.get("data.prompt") == "{text}"
    assert proposal.get("data.reference") == "{label}"
    assert proposal.get("data.group") == "customer_id"
    assert proposal.get("metrics.slices") == ["language"]
    assert proposal.get("data.labels") == ["billing", "delivery", "returns"]
    assert proposal.get("prompting.system") == "Answer with one of: billing, delivery, returns."


def test_numbers_are_a_regression_in_the_unit_of_the_references(write: Write) -> None:
    rows = [{"description": phrase(i), "price": f"{i * 1.25 + 3:.2f}"} for i in range(150)]
    proposal = of(write("prices.csv", rows))
    assert (proposal.kind, proposal.get("metrics.primary")) == ("regression", "mae")
    assert (proposal.get("data.prompt"), proposal.get("data.reference")) == ("{description}", "{price}")


def test_few_numbers_that_repeat_are_classes(write: Write) -> None:
    rows = [{"review": phrase(i), "stars": i % 5 + 1} for i in range(150)]
    assert of(write("stars.jsonl", rows)).kind == "classification"


def test_whole_numbers_called_answers_are_right_or_wrong(write: Write) -> None:
    rows = [{"question": f"{i} times {i + 3}?", "answer": str(i * (i + 3))} for i in range(150)]
    proposal = of(write("sums.jsonl", rows))
    assert (proposal.kind, proposal.get("metrics.primary")) == ("short answer", "exact_match")


def test_text_without_blanks_is_measured_by_characters(write: Write) -> None:
    digits = "零一二三四五六七八九"
    spelt = ["".join(digits[int(d)] for d in f"{i:03d}") for i in range(150)]
    rows = [
        {
            "input": f"请介绍一下编号为{s}的产品的主要功能和使用方法",
            "output": f"编号{s}的产品可以用来测量温度和湿度并且会自动保存结果",
        }
        for s in spelt
    ]
    proposal = of(write("zh.jsonl", rows))
    assert proposal.kind in ("generation", "rewriting")
    assert proposal.get("metrics.primary") == "chrf"


def test_another_script_is_a_translation(write: Write) -> None:
    rows = [{"source": phrase(i), "target": f"Это совсем другое предложение под номером {i}"} for i in range(120)]
    proposal = of(write("pairs.jsonl", rows))
    assert (proposal.kind, proposal.get("metrics.primary")) == ("translation", "chrf")


def test_columns_named_by_language_are_a_translation(write: Write) -> None:
    rows = [{"en": phrase(i), "de": f"Der Satz Nummer {i} lautet hier anders"} for i in range(120)]
    proposal = of(write("pairs.csv", rows))
    assert proposal.kind == "translation"
    assert (proposal.get("data.prompt"), proposal.get("data.reference")) == ("{en}", "{de}")


def test_program_code_is_told_from_text(write: Write) -> None:
    rows = [{"instruction": phrase(i), "response": f"def f{i}(x):\n    return x + {i}"} for i in range(120)]
    assert of(write("code.jsonl", rows)).kind == "code"


def test_conversations_need_no_templates(write: Write) -> None:
    rows = [
        {
            "messages": [
                {"role": "user", "content": phrase(i)},
                {"role": "assistant", "content": "Which one do you mean?"},
                {"role": "user", "content": f"the one with number {i}"},
                {"role": "assistant", "content": f"Then it is the one that stood beside {phrase(i)} all the time."},
            ]
        }
        for i in range(120)
    ]
    proposal = of(write("chat.jsonl", rows))
    assert proposal.kind == "chat"
    assert proposal.get("data.format") == "messages"
    assert proposal.get("data.prompt") is None


def test_context_and_question_are_read_together_and_nested_answers_found(write: Write) -> None:
    rows = [
        {"context": phrase(i), "question": "Which number?", "answers": {"text": [str(i), f"number {i}"]}}
        for i in range(120)
    ]
    proposal = of(write("squad.jsonl", rows))
    assert proposal.get("data.prompt") == "{context}\n{question}"
    assert proposal.get("data.reference") == "{answers.text}"
    assert proposal.kind == "short answer"


def test_two_fields_without_telling_names_are_taken_in_their_order(write: Write) -> None:
    proposal = of(write("rows.jsonl", [{"id": i, "a": phrase(i), "b": phrase(i).upper()} for i in range(120)]))
    assert (proposal.get("data.prompt"), proposal.get("data.reference")) == ("{a}", "{b}")


def test_what_the_fields_do_not_tell_is_asked_and_never_guessed(write: Write) -> None:
    path = write("rows.jsonl", [{"a": phrase(i), "b": phrase(i).upper(), "c": "x"} for i in range(120)])
    with pytest.raises(HarnessError) as caught:
        of(path)
    assert caught.value.code == "E-FIELD"
    assert "a, b, c" in caught.value.what
    assert "data.prompt=" in caught.value.fix


def test_what_is_given_is_kept(write: Write) -> None:
    path = write("rows.jsonl", [{"a": phrase(i), "b": phrase(i).upper(), "c": "x"} for i in range(120)])
    given = {"source": str(path), "prompt": "{c} {a}", "reference": "{b}", "group": "c"}
    proposal = propose(given, Path(), metric="chrf")
    assert {choice.key for choice in proposal.choices}.isdisjoint(
        {"data.prompt", "data.reference", "data.group", "metrics.primary"}
    )


def test_the_longest_reference_fits_with_half_as_much_again(write: Write) -> None:
    rows = [{"question": phrase(i), "answer": f"{i}" + "x" * 297} for i in range(100, 220)]
    # 300 bytes are 100 tokens at three bytes a token; 150 in steps of 16 are 160.
    assert of(write("rows.jsonl", rows)).get("generation.max_tokens") == 160


def test_prompts_that_leave_no_room_for_examples_get_none(write: Write) -> None:
    rows = [{"document": f"{phrase(i)} " * 150, "summary": phrase(i)} for i in range(120)]
    proposal = of(write("rows.jsonl", rows))
    assert proposal.get("prompting.shots") == [0]
    assert of(write("short.jsonl", classes())).get("prompting.shots") == [0, 4]


@pytest.mark.parametrize(("n", "share"), [(120, 0.25), (600, 0.1)])
def test_a_small_file_gives_a_larger_share_to_the_test(write: Write, n: int, share: float) -> None:
    proposal = of(write("rows.jsonl", codes(n)))
    split = proposal.get("data.split")
    assert isinstance(split, dict)
    assert split["test"] == share
    assert sum(float(str(s)) for s in split.values()) == pytest.approx(1)


def test_files_of_the_other_splits_are_found_beside_a_train_file(write: Write) -> None:
    rows = codes(400)
    write("set/my_train.jsonl", rows[:200])
    write("set/my_dev.jsonl", rows[200:300])
    write("set/my_test.jsonl", rows[300:])
    proposal = of(Path("set/my_train.jsonl"))
    assert proposal.n_rows == {"train": 200, "validation": 100, "test": 100}
    assert proposal.get("data.validation") == "set/my_dev.jsonl"
    assert proposal.get("data.split") is None


def test_a_folder_stands_for_its_files(write: Write) -> None:
    write("set/train.jsonl", codes(400)[:300])
    write("set/test.jsonl", codes(400)[300:])
    assert of(Path("set")).n_rows == {"train": 300, "test": 100}


def test_one_file_beside_a_named_test_file_is_trained_on(write: Write) -> None:
    write("a.jsonl", codes(400)[:300])
    write("b.jsonl", codes(400)[300:])
    proposal = propose({"source": "a.jsonl", "test": "b.jsonl"}, Path())
    assert proposal.n_rows == {"train": 300, "test": 100}


def test_a_lone_train_file_is_cut(write: Write) -> None:
    proposal = propose({"train": str(write("train.jsonl", codes()))}, Path())
    assert proposal.get("data.source") == "train.jsonl"
    assert proposal.n_rows == {"source": 120}


def test_doubts_count_what_a_person_should_see(write: Write) -> None:
    rows = [*classes(60), *({**row, "id": f"again-{row['id']}"} for row in classes(60)[:6])]
    rows += [{"id": "odd", "text": "something else", "label": "bilingl", "customer_id": "z", "language": "en"}]
    doubts = " ".join(of(write("rows.jsonl", rows)).doubts)
    assert "only 67 rows" in doubts
    assert "6 rows ask what another row asks" in doubts
    assert "1 of 4 labels occur less than 5 times (misspelt?): bilingl" in doubts
    assert "'billing' occurs 22 times, 'bilingl' 1" in doubts


def test_unreadable_rows_are_counted_and_the_rest_is_looked_at(write: Write) -> None:
    path = write("rows.jsonl", classes())
    path.write_text(path.read_text() + '{"id": "x", "text": \n')
    doubts = " ".join(of(path).doubts)
    assert "1 rows cannot be read" in doubts
    assert "rows.jsonl:121" in doubts


@pytest.mark.parametrize(
    ("text", "code"), [(None, "E-FILE"), ("", "E-EMPTY"), ("{broken\n", "E-JSON"), ('{"prompt": "x"}\n', "E-FIELD")]
)
def test_a_file_without_a_single_sample_is_one_error(write: Write, text: str | None, code: str) -> None:
    path = write("rows.jsonl", codes(1))
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(HarnessError) as caught:
        of(path)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "files",
    [
        {"train": "rows.jsonl", "validation": "rows.jsonl"},
        {"train": "rows.jsonl", "source": "rows.jsonl"},
        {"test": "rows.jsonl"},
    ],
)
def test_files_that_do_not_go_together_are_one_error(write: Write, files: dict[str, str]) -> None:
    write("rows.jsonl", codes())
    with pytest.raises(HarnessError) as caught:
        propose(files, Path())
    assert caught.value.code == "E-OPTION"


def test_a_field_with_few_values_is_a_slice_whatever_it_is_called(write: Write) -> None:
    rows = [{**row, "user_rating": i % 5} for i, row in enumerate(codes())]
    proposal = of(write("rows.jsonl", rows))
    assert proposal.get("data.group") is None
    assert proposal.get("metrics.slices") == ["user_rating"]


def test_hostile_names_and_labels_are_shown_as_escapes(write: Write) -> None:
    rows = [{"question": phrase(i), "answer": ("a\u202eb", "c\x1b[31m")[i % 2], "customer\x1b": "x"} for i in range(40)]
    rows += [{"question": "odd\x1b", "answer": "\x1b]0;x", "customer\x1b": "y"}]
    proposal = of(write("rows.jsonl", rows))
    shown = [proposal.kind_reason, *proposal.doubts, *(choice.reason for choice in proposal.choices)]
    assert all(text.isprintable() for text in shown)


@pytest.mark.parametrize("make", [classes, objects, codes, replies])
def test_order_of_the_rows_changes_neither_kind_nor_metric(
    write: Write, make: Callable[[int], list[dict[str, object]]]
) -> None:
    rows = make(120)
    forth, back = of(write("forth.jsonl", rows)), of(write("back.jsonl", rows[::-1]))
    assert (forth.kind, forth.get("metrics.primary")) == (back.kind, back.get("metrics.primary"))


@pytest.mark.parametrize(
    ("row", "prompt", "reference"),
    [
        ({"mr": "a", "ref": "b"}, "{mr}", "{ref}"),
        ({"abstract": "a", "title": "b"}, "{abstract}", "{title}"),
        ({"article": "a", "highlights": "b", "id": "c"}, "{article}", "{highlights}"),
        ({"subject": "a", "body": "b", "queue_label": "c"}, "{subject}\n{body}", "{queue_label}"),
        ({"user_input": "a", "model_output": "b"}, "{user_input}", "{model_output}"),
        ({"Question": "a", "Expected": "b"}, "{Question}", "{Expected}"),
    ],
)
def test_names_that_tell_a_role(row: dict[str, object], prompt: str, reference: str) -> None:
    roles = roles_of([Table("source", "x", (row,))], {})  # type: ignore[arg-type]
    assert [choice.value for choice in roles.choices] == [prompt, reference]


def test_empty_fields_are_told_from_filled_ones() -> None:
    [field] = fields_of([Table("source", "x", ({"a": "x"}, {"a": " "}, {"a": None}, {}))])
    assert (field.n_filled, field.n_rows) == (1, 4)


def test_many_whole_numbers_that_repeat_are_quantities(tmp_path: Path) -> None:
    rows = "".join(f"order {i},{i % 90}\n" for i in range(1000))
    (tmp_path / "delays.csv").write_text("text,delay\n" + rows)
    given = {"source": "delays.csv", "prompt": "{text}", "reference": "{delay}"}
    found = propose(given, tmp_path)
    assert (found.kind, found.get("metrics.primary")) == ("regression", "mae")
    stars = "".join(f"order {i},{i % 5}\n" for i in range(1000))
    (tmp_path / "delays.csv").write_text("text,delay\n" + stars)
    assert propose(given, tmp_path).kind == "classification"
