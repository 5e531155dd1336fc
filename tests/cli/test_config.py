from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.config import resolve
from harness.core.errors import HarnessError
from tests.conftest import Ran, write_rows

FAKE = ("backend=fake", "model=fake", "trainer=fake")


def mistakes(*words: str) -> str:
    with pytest.raises(HarnessError) as caught:
        resolve(words)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_words_are_parsed_by_the_fields_type(echo_task: Path) -> None:
    settings = resolve(
        [f"task={echo_task}", *FAKE, "prompting.system=no", "trainer.lr=1e-4", "prompting.shots=0,1,3", "seed=7"]
    )
    assert settings.spec.task.prompting.system == "no"
    assert settings.spec.trainer["lr"] == 1e-4
    assert settings.spec.task.prompting.shots == (0, 1, 3)
    assert settings.spec.seed == 7
    assert settings.trainer_spec.model_dump()["seed"] == 7


@pytest.mark.parametrize(("text", "value"), [("007", "007"), ("1_000", "1_000"), ("12:30", "12:30"), ("null", None)])
def test_text_that_looks_like_something_else_stays_text(echo_task: Path, text: str, value: str | None) -> None:
    assert (
        resolve([f"task={echo_task}", *FAKE, f"prompting.instruction={text}"]).spec.task.prompting.instruction == value
    )


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("prompting.instructions=Say it loudly, please", ("Say it loudly, please",)),
        ('prompting.instructions=["Say it, loudly", "Shout"]', ("Say it, loudly", "Shout")),
        ("prompting.instructions=", ()),
    ],
)
def test_a_wording_with_a_comma_is_one_wording(echo_task: Path, word: str, expected: tuple[str, ...]) -> None:
    assert resolve([f"task={echo_task}", *FAKE, word]).spec.task.prompting.instructions == expected


def test_a_comma_can_be_what_stops_generation_and_still_cuts_lists_of_names(echo_task: Path) -> None:
    words = ["generation.stop=,", "metrics.report=rouge_l,squad_em", "metrics.slices=a,b"]
    task = resolve([f"task={echo_task}", *FAKE, *words]).spec.task
    assert (task.generation.stop, task.metrics.report, task.metrics.slices) == (
        (",",),
        ("rouge_l", "squad_em"),
        ("a", "b"),
    )


@pytest.mark.parametrize("depth", [60, 900, 200_000])
@pytest.mark.parametrize("key", ["prompting.shots", "backend.options.fail", "data.where"])
def test_lists_nested_without_end_are_one_mistake(echo_task: Path, key: str, depth: int) -> None:
    text = mistakes(f"task={echo_task}", *FAKE, f"{key}={'[' * depth}{']' * depth}")
    assert "one setting is wrong" in text
    assert "nested more than 50 deep" in text
    assert len(text) < 1_000


def test_a_task_file_nested_without_end_is_one_mistake(echo_task: Path) -> None:
    file = echo_task / "task.toml"
    file.write_text(f"{file.read_text()}\n[metrics.options.exact_match]\nx = {'[' * 5_000}{']' * 5_000}\n")
    assert "error[E-TOML]" in mistakes(f"task={echo_task}", *FAKE)


def test_the_folder_of_the_runs_must_be_one(echo_task: Path) -> None:
    file = echo_task / "task.toml"
    for out in (str(file), f"{file}/below/it", "", "x" * 300, "a\0b"):
        assert "error[E-OPTION]: out=" in mistakes(f"task={echo_task}", *FAKE, f"out={out}")
    for out in (echo_task, echo_task / "new" / "ones"):
        assert resolve([f"task={echo_task}", *FAKE, f"out={out}"]).out == out


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "~nobody-of-this-name/x", "~nobody-of-this-name"])
def test_names_that_no_file_can_have_are_not_found(name: str) -> None:
    assert "there is no task named" in mistakes(f"task={name}", *FAKE)
    assert "does not exist" in mistakes(f"data={name}", *FAKE)


def test_the_command_line_wins_over_the_task_and_each_value_remembers_its_origin(echo_task: Path) -> None:
    settings = resolve([f"task={echo_task}", *FAKE, "generation.max_tokens=9"])
    assert settings.spec.task.generation.max_tokens == 9
    assert settings.origins["generation.max_tokens"] == "typed: generation.max_tokens=9"
    assert settings.origins["metrics.primary"] == "task.toml"
    assert settings.origins["generation.top_k"] == "default"


def test_every_mistake_is_reported_at_once_each_with_a_suggestion(echo_task: Path) -> None:
    text = mistakes(f"task={echo_task}", *FAKE, "trainer.learning_rate=1", "generatoin.top_p=3", "epochs=x", "seed=-1")
    assert "'trainer.learning_rate'. Did you mean trainer.lr?" in text
    assert "'generatoin.top_p'. Did you mean generation.top_p?" in text
    assert "'epochs'. Did you mean trainer.epochs?" in text
    assert "seed: Input should be greater than or equal to 0 (got '-1' from typed: seed=-1)" in text
    assert "4 settings are wrong" in text


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("generation.top_p=3", "generation.top_p: Input should be less than or equal to 1"),
        ("trainer.lr=0", "trainer.lr: Input should be greater than 0"),
        ("trainer.epochs=abc", "trainer.epochs: Input should be a valid integer"),
        ("prompting.shots=4", "prompting: shots must contain 0"),
        ("data.labels=[1", "data.labels=[1:"),
        ("select.rule=bset", "select.rule: Input should be 'one_standard_error', 'best' or 'last'"),
    ],
)
def test_a_wrong_value_says_what_is_expected_and_where_it_came_from(echo_task: Path, word: str, said: str) -> None:
    assert said in mistakes(f"task={echo_task}", *FAKE, word)


def test_a_misspelt_key_in_the_task_file_is_never_ignored(echo_task: Path) -> None:
    file = echo_task / "task.toml"
    file.write_text(file.read_text().replace("smallest_effect", "smalest_effect"))
    text = mistakes(f"task={echo_task}", *FAKE)
    assert "unknown setting 'metrics.smalest_effect' (task.toml). Did you mean metrics.smallest_effect" in text


def test_broken_toml_names_the_line(echo_task: Path) -> None:
    (echo_task / "task.toml").write_text('name = "x"\nsummary = \n')
    assert "line 2" in mistakes(f"task={echo_task}", *FAKE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["headlines"], "did you mean task=headlines?"),
        (["model=demo"], "no task was named"),
        (["task=headlnes"], "did you mean headlines"),
        (["task=headlines", "trainer=lroa"], "did you mean lora?"),
        (["task=headlines", "seed=1", "seed=2"], "seed is given twice"),
    ],
)
def test_usage_mistakes_have_a_next_step(words: list[str], said: str) -> None:
    assert said in mistakes(*words)


def test_an_interpreter_is_typed_and_never_a_tasks(echo_task: Path) -> None:
    words = [f"task={echo_task}", *FAKE[:2]]
    file = echo_task / "task.toml"
    file.write_text(file.read_text() + '\n[trainer]\nname = "unsloth"\npython = "./setup\\u001b.sh"\n')
    for word in ((), ("trainer=unsloth",), ("trainer.python=/usr/bin/python3",)):
        text = mistakes(*words, *word)
        assert "error[E-CONFLICT]: [trainer] of task.toml names an interpreter" in text
        assert "setup" in text
        assert "\x1b" not in text
        assert "trainer.python=" in text
    # Another trainer has nothing of it.
    settings = resolve([*words, "trainer=fake"])
    assert any("python not used" in note for note in settings.notes)
    file.write_text(file.read_text().partition("python =")[0])
    assert resolve([*words, "trainer.python=/usr/bin/python3"]).spec.trainer["python"] == "/usr/bin/python3"


def test_trainer_defaults_of_a_task_belong_to_the_trainer_they_were_chosen_for(echo_task: Path) -> None:
    file = echo_task / "task.toml"
    file.write_text(file.read_text() + "\n[trainer]\nrank = 4\n")
    assert resolve([f"task={echo_task}", *FAKE]).spec.trainer == {"epochs": 3, "batch_rows": 16, "lr": 0.3, "seed": 0}
    file.write_text(file.read_text().replace("[trainer]", '[trainer]\nname = "fake"'))
    assert "unknown setting 'trainer.rank' (task.toml)" in mistakes(f"task={echo_task}", *FAKE)


def test_open_tables_take_any_key(echo_task: Path) -> None:
    settings = resolve([f"task={echo_task}", *FAKE, 'metrics.options.exact_match.normalise=["case"]'])
    assert settings.spec.task.metrics.options == {"exact_match": {"normalise": ["case"]}}


def test_a_table_typed_as_one_text_says_how_its_keys_are_typed(echo_task: Path) -> None:
    text = mistakes(f"task={echo_task}", *FAKE, "data.where={lang: en}")
    assert "data.where: it is a table; type data.where.NAME=VALUE" in text


def test_settings_that_contradict_each_other_are_named_with_their_table(echo_task: Path) -> None:
    text = mistakes(f"task={echo_task}", "trainer.dora=true", "trainer.weight_decay=0.1")
    assert "trainer: weight_decay would pull" in text


def test_options_of_a_metric_that_is_not_measured_are_a_mistake(echo_task: Path) -> None:
    with pytest.raises(HarnessError) as caught:
        resolve([f"task={echo_task}", *FAKE, 'metrics.options.Exact_Match.normalise=["case"]'])
    assert "'Exact_Match', which is not measured" in caught.value.details[0]
    assert "did you mean exact_match?" in caught.value.details[0]


def test_typed_metrics_leave_the_options_of_the_tasks_own_behind_with_a_note(echo_task: Path) -> None:
    file = echo_task / "task.toml"
    file.write_text(file.read_text() + "\n[metrics.options.exact_match]\nnormalise = ['case']\n")
    kept = resolve([f"task={echo_task}", *FAKE])
    assert kept.spec.task.metrics.options == {"exact_match": {"normalise": ["case"]}}
    other = resolve([f"task={echo_task}", *FAKE, "metric=rouge_l", "metrics.report="])
    assert other.spec.task.metrics.options == {}
    assert "metrics.options.exact_match of task.toml not used: other metrics were typed" in other.notes


def test_options_of_a_metric_whose_name_has_dots_are_typed_like_others(echo_task: Path) -> None:
    words = ["metrics.options.hf:own/f1.py.kwargs.average=macro", "metric=hf:own/f1.py"]
    options = resolve([f"task={echo_task}", *FAKE, *words]).spec.task.metrics.options
    assert options == {"hf:own/f1.py": {"kwargs": {"average": "macro"}}}


def test_rows_without_a_task_folder_become_a_task_with_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "my rows.jsonl", range(120))
    settings = resolve(["data=my rows.jsonl", *FAKE])
    task = settings.spec.task
    assert (task.name, task.data.source) == ("my-rows", "my rows.jsonl")
    assert (task.data.prompt, task.data.reference) == ("{question}", "{answer}")
    assert settings.task_folder == Path()
    assert settings.origins["data.source"] == "typed: data.source=my rows.jsonl"
    assert settings.origins["data.prompt"] == "proposed: named like a question"
    assert settings.origins["metrics.primary"].startswith("proposed: ")
    assert settings.origins["data.split.test"].startswith("proposed: few rows")
    assert any(note.startswith(f"metrics.primary = {task.metrics.primary}: ") for note in settings.notes)


def test_a_file_of_a_split_is_called_after_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "capitals").mkdir()
    write_rows(tmp_path / "capitals/train.jsonl", range(120))
    write_rows(tmp_path / "capitals/test.jsonl", range(200, 240))
    task = resolve(["data=capitals/train.jsonl", *FAKE]).spec.task
    assert (task.name, task.data.test) == ("capitals", "capitals/test.jsonl")


def test_a_typed_metric_is_not_proposed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", range(120))
    settings = resolve(["data=rows.jsonl", "metric=rouge_l", "prompting.shots=0", *FAKE])
    assert settings.spec.task.metrics.primary == "rouge_l"
    assert settings.origins["metrics.primary"] == "typed: metrics.primary=rouge_l"
    assert settings.origins["prompting.shots"] == "typed: prompting.shots=0"
    assert not any("metrics.primary" in note for note in settings.notes)


def test_named_files_of_splits_and_typed_templates_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "a.jsonl", range(120))
    write_rows(tmp_path / "b.jsonl", range(200, 240))
    words = ["data.train=a.jsonl", "data.test=b.jsonl", "data.prompt=Say {question}", "data.reference={answer}"]
    data = resolve([*words, *FAKE]).spec.task.data
    assert (data.source, data.train, data.test, data.prompt) == (None, "a.jsonl", "b.jsonl", "Say {question}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data=none.jsonl"], "data file 'none.jsonl' does not exist"),
        (["data=rows.jsonl", "data.promt=x"], "unknown setting 'data.promt'. Did you mean data.prompt or"),
        (["data=rows.jsonl", "data.prompt={question}"], "prompt and reference templates go together"),
        (["data=rows.jsonl", "generation.top_p=3"], "generation.top_p: Input should be less than or equal to 1"),
        (["data=rows.jsonl", "task=headlines"], "task=headlines names its own data"),
        (["data=rows.jsonl", "preset=formatt"], "there is no preset named 'formatt'; did you mean format?"),
    ],
)
def test_mistakes_with_rows_are_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", range(120))
    assert said in mistakes(*words, *FAKE)


def test_other_rows_can_be_put_into_a_task_by_its_own_key(echo_task: Path) -> None:
    write_rows(echo_task / "more.jsonl", range(300, 340))
    settings = resolve([f"task={echo_task}", "data.test=more.jsonl", *FAKE])
    assert settings.spec.task.data.test == "more.jsonl"


def test_a_typed_file_stands_in_place_of_the_tasks_files_of_splits(echo_task: Path) -> None:
    write_rows(echo_task / "all.jsonl", range(300, 400))
    settings = resolve([f"task={echo_task}", "data.source=all.jsonl", *FAKE])
    data = settings.spec.task.data
    assert (data.source, data.train, data.validation, data.test) == ("all.jsonl", None, None, None)
    assert data.prompt == "{question}"
    assert "data.train, data.validation, data.test of task.toml not used: other files were typed" in settings.notes


def test_typed_files_of_splits_stand_in_place_of_the_tasks_one_file(echo_task: Path) -> None:
    file = echo_task / "task.toml"
    kept = [line for line in file.read_text().splitlines() if not line.startswith(("validation =", "test ="))]
    file.write_text("\n".join(kept).replace("train =", "source ="))
    assert resolve([f"task={echo_task}", *FAKE]).spec.task.data.source == "train.jsonl"
    data = resolve([f"task={echo_task}", "data.train=train.jsonl", "data.test=test.jsonl", *FAKE]).spec.task.data
    assert (data.source, data.train, data.test) == (None, "train.jsonl", "test.jsonl")
    # A test file alone would have been read by nobody.
    assert "give either source, or train and test" in mistakes(f"task={echo_task}", "data.test=test.jsonl", *FAKE)


def test_a_wrong_item_of_a_typed_list_is_not_blamed_on_the_file(echo_task: Path) -> None:
    text = mistakes(f"task={echo_task}", *FAKE, "prompting.shots=0,x")
    assert "prompting.shots.1: Input should be a valid integer" in text
    assert "(got 'x' from typed: prompting.shots=0,x)" in text
    assert "task.toml" not in text


def test_a_preset_lies_between_the_defaults_and_the_task(echo_task: Path) -> None:
    file = echo_task / "task.toml"
    file.write_text('preset = "style"\n' + file.read_text().replace('report = ["squad_f1"]\n', ""))
    settings = resolve([f"task={echo_task}", *FAKE])
    assert settings.spec.task.metrics.primary == "exact_match"
    assert settings.origins["metrics.primary"] == "task.toml"
    assert settings.spec.task.metrics.report == ("rouge_l", "length_ratio")
    assert settings.origins["metrics.report"] == "preset style"
    assert settings.origins["generation.top_k"] == "default"
    assert any(note.startswith("preset style: ") for note in settings.notes)


def test_a_typed_preset_replaces_the_tasks_own(echo_task: Path) -> None:
    file = echo_task / "task.toml"
    file.write_text('preset = "style"\n' + file.read_text().replace('report = ["squad_f1"]\n', ""))
    settings = resolve([f"task={echo_task}", "preset=domain", *FAKE])
    assert settings.spec.task.metrics.report == ("squad_em",)
    assert settings.origins["metrics.report"] == "preset domain"


def test_a_run_of_rows_concludes_and_resumes(
    harness: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "rows.jsonl", range(160))
    words = ["data=rows.jsonl", "metric=exact_match", "generation.max_tokens=64", *FAKE]
    ran = harness("run", *words)
    assert ran.code == 0, ran.err
    assert "note: data.prompt = {question}: named like a question" in ran.err
    folder = next((tmp_path / "runs/rows").glob("*"))
    (folder / "result.json").unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    resumed = harness("resume", str(folder))
    assert resumed.code == 0, resumed.err
    assert resumed.out.splitlines()[0] == ran.out.splitlines()[0]


def test_auto_is_a_run_of_the_engine_that_it_chose_and_says_why(echo_task: Path) -> None:
    words = [f"task={echo_task}", "model=demo", "trainer=none"]
    chosen, named = (resolve([*words, f"backend={name}"]) for name in ("auto", "hf"))
    assert chosen.spec == named.spec
    reason = chosen.origins["backend.name"].removeprefix("auto: ")
    assert reason
    assert f"backend=auto is hf here: {reason}" in chosen.notes
    assert named.origins["backend.name"] == "typed: backend.name=hf"
