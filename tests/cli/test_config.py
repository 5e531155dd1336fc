from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import resolve
from harness.core.errors import HarnessError

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
        (["task=headlnes"], "did you mean headlines?"),
        (["task=headlines", "trainer=lroa"], "did you mean lora?"),
        (["task=headlines", "seed=1", "seed=2"], "seed is given twice"),
    ],
)
def test_usage_mistakes_have_a_next_step(words: list[str], said: str) -> None:
    assert said in mistakes(*words)


def test_trainer_defaults_of_a_task_belong_to_the_trainer_they_were_chosen_for(echo_task: Path) -> None:
    file = echo_task / "task.toml"
    file.write_text(file.read_text() + "\n[trainer]\nrank = 4\n")
    assert resolve([f"task={echo_task}", *FAKE]).spec.trainer == {"epochs": 3, "batch_rows": 16, "lr": 0.3, "seed": 0}
    file.write_text(file.read_text().replace("[trainer]", '[trainer]\nname = "fake"'))
    assert "unknown setting 'trainer.rank' (task.toml)" in mistakes(f"task={echo_task}", *FAKE)


def test_open_tables_take_any_key(echo_task: Path) -> None:
    settings = resolve([f"task={echo_task}", *FAKE, 'metrics.options.exact_match.normalise=["case"]'])
    assert settings.spec.task.metrics.options == {"exact_match": {"normalise": ["case"]}}
