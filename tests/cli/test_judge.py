"""`harness judge`: what it refuses before anything is asked, and what it says of judges."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.judging import Label
from harness.store.encoding import canonical
from tests.conftest import Ran, make_echo_task, words_row

Harness = Callable[..., Ran]
FAKE = ("backend=fake", "model=fake", "trainer=fake", "n_resamples=100")
# Ask no model. `Pupil` has something to learn, and does.
KINDS = """
from harness.core.judging import Verdict

class Loud:
    kind, takes, identity = "loud", "single", {"version": 1}
    def __init__(self, name):
        self.name = name
    def rate(self, items, generator):
        for item in items:
            words, answer = item.question.upper().split(), item.answer.split()
            score = sum(word in answer for word in words) / len(words)
            yield item.id, Verdict(score, (score,))

class Pupil(Loud):
    def fit(self, labels, backend, folder, progress):
        return self

class Kind:
    def __init__(self, made):
        self.made = made
    def create(self, context):
        return self.made(context.name)

loud, pupil = Kind(Loud), Kind(Pupil)
"""
LOUD = 'kind = "kinds.py:loud"\ncriterion = "loudness"\nlabel = "pass_fail"\n'
PUPIL = 'kind = "kinds.py:pupil"\ncriterion = "loudness"\nlabel = "pass_fail"\n'


def write_judge(task: Path, name: str, settings: str) -> Path:
    folder = task / "judges" / name
    folder.mkdir(parents=True)
    (folder / "judge.toml").write_text(settings)
    (folder / "kinds.py").write_text(KINDS)
    (folder / "rubric.md").write_text("Is the answer loud, all in capitals?\n")
    return folder


def labels(n: int) -> list[Label]:
    """Somebody who likes capitals, on a quiet and a loud answer to n prompts."""
    found = []
    for number in range(100, 100 + n):
        row = words_row(number)
        for system, answer, loud in (("base-0shot", row["question"], 0), ("step-000006", row["answer"], 1)):
            # Now and then a quiet answer will do.
            value = int(loud or number % 5 == 0)
            found.append(
                Label(
                    f"{system}-{number}", "pass_fail", "loudness", value, "ann", row["question"], (answer,), (system,)
                )
            )
    return found


@pytest.fixture
def task(harness: Harness, tmp_path: Path) -> Path:
    """A task with labels of 24 prompts and no judge yet."""
    folder = make_echo_task(tmp_path / "echo")
    (folder / "labels.jsonl").write_bytes(b"".join(canonical(label, indent=None) for label in labels(24)))
    return folder


def judge(harness: Harness, command: str, task: Path, *words: str) -> Ran:
    return harness("judge", command, f"task={task}", *FAKE, "metrics.report=[]", *words)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("effect=0",), "E-OPTION", "effect"),
        (("effect=-1",), "E-OPTION", "effect"),
        (("effect=5",), "E-OPTION", "effect"),
        (("effect=inf",), "E-OPTION", "effect"),
        (("effect=nan",), "E-OPTION", "effect"),
        (("effect=1e-200",), "E-OPTION", "effect"),
        (("effect=much",), "E-OPTION", "effect"),
        (("sd=0.4", "rho=0.5"), "E-OPTION", "effect"),
        (("effect=0.1", "sd=0"), "E-OPTION", "sd"),
        (("effect=0.1", "rho=1.6"), "E-OPTION", "rho"),
        (("effect=0.1", "rho=nan"), "E-OPTION", "rho"),
        (("effect=0.1", "power=8"), "E-OPTION", "power"),
        (("effect=0.1", "power=0"), "E-OPTION", "power"),
        (("effect=0.1", "judged=inf"), "E-OPTION", "judged"),
        (("effect=0.1", "judged=0"), "E-OPTION", "judged"),
        (("effect=0.1", "judged=2.5"), "E-OPTION", "judged"),
        (("effect=0.1", "effect=0.2"), "E-CONFLICT", "given twice"),
        (("effect=0.1", "sd=0.4", "rho=0.5", "colour=red"), "E-OPTION", "colour=red"),
        (("effect=0.1", "colour=red"), "E-OPTION", "colour=red"),
        (("effect=0.1", "quality"), "E-OPTION", "quality"),
        (("effect=0.1", "sd=0.4"), "E-USAGE", "rho"),
    ],
)
def test_plan_refuses_what_no_number_of_labels_answers(
    harness: Harness, words: tuple[str, ...], code: str, said: str
) -> None:
    ran = harness("judge", "plan", *words)
    assert ran.code == 2
    assert f"error[{code}]" in ran.err
    assert said in ran.err
    assert ran.out == ""


def test_plan_names_every_mistake_at_once(harness: Harness) -> None:
    ran = harness("judge", "plan", "effect=0", "rho=2", "power=1")
    assert [line.split(":")[0].strip() for line in ran.err.splitlines()[1:4]] == ["effect", "rho", "power"]


def test_plan_without_a_judge_is_the_textbook_number(harness: Harness) -> None:
    """(1.96 + 0.8416)^2 0.85^2 / 0.1^2 = 567.1, of paired differences at 5 % and a power of 0.8."""
    ran = harness("judge", "plan", "effect=0.1", "sd=0.85", "rho=0.6", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["labels"]["0.0"] == 568


def test_plan_takes_spread_and_correlation_from_a_card(harness: Harness, task: Path) -> None:
    write_judge(task, "loud", LOUD)
    assert judge(harness, "calibrate", task).code == 0
    ran = judge(harness, "plan", task, "effect=0.1")
    assert ran.code == 0, ran.err
    assert "<- this judge" in ran.out
    assert "colour" in judge(harness, "plan", task, "effect=0.1", "colour=red").err


@pytest.mark.parametrize("command", ["calibrate", "probe", "compare", "tune"])
def test_a_judge_that_cannot_be_made_stops_the_command_before_the_first_is_asked(
    harness: Harness, task: Path, command: str
) -> None:
    write_judge(task, "first", PUPIL)
    write_judge(task, "second", 'kind = "reference"\ncriterion = "loudness"\noptions.metric = "nope"\n')
    ran = judge(harness, command, task)
    assert ran.code == 2
    assert "error[E-UNKNOWN]: judge 'second': there is no metric named 'nope'" in ran.err
    assert "judge.toml of 'second'" in ran.err
    assert not Path("runs").exists()


@pytest.mark.parametrize(("word", "code"), [("judge=", "E-OPTION"), ("judge=loud,", "E-OPTION")])
def test_a_name_left_out_is_not_taken_for_all_judges(harness: Harness, task: Path, word: str, code: str) -> None:
    write_judge(task, "loud", LOUD)
    ran = judge(harness, "probe", task, word)
    assert (ran.code, f"error[{code}]" in ran.err) == (2, True)
    assert not Path("runs").exists()


def test_judges_named_twice_are_refused(harness: Harness, task: Path) -> None:
    write_judge(task, "loud", LOUD)
    ran = judge(harness, "calibrate", task, "judge=loud", "judge=quiet")
    assert "error[E-CONFLICT]" in ran.err


@pytest.mark.parametrize("command", ["card", "tune"])
def test_json_of_several_judges_is_one_document(harness: Harness, task: Path, command: str) -> None:
    for name in ("one", "other"):
        write_judge(task, name, PUPIL)
    if command == "card":
        assert judge(harness, "calibrate", task).code == 0
    ran = judge(harness, command, task, "--json")
    assert ran.code == 0, ran.err
    cards = [found["card"] if command == "card" else found for found in json.loads(ran.out)]
    assert [card["judge"] for card in cards] == ["one", "other"]


def test_card_says_what_has_not_changed_and_promises_no_licence(harness: Harness, task: Path) -> None:
    write_judge(task, "loud", LOUD)
    (task / "labels.jsonl").unlink()
    assert "no labels yet" in judge(harness, "calibrate", task).out
    ran = judge(harness, "card", task)
    assert "UNCALIBRATED" in ran.out
    assert ran.out.rstrip().endswith(
        "Nothing it was graded on (settings, rubric, labels) has changed since; a run also compares the model."
    )
    assert "licence holds" not in ran.out
    assert "0 labels of 0 answers" not in ran.out


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ('kind = "lickert"\ncriterion = "x"\n', "E-UNKNOWN", "names the kind of judge 'lickert'"),
        ('kind = "likert"\ncriterion = "x"\nbackend.name = "cpu"\n', "E-UNKNOWN", "names the backend 'cpu'"),
        (
            'kind = "tuned"\ncriterion = "x"\noptions.trainer_name = "nope"\n',
            "E-UNKNOWN",
            "judge 'typo': there is no trainer named 'nope'",
        ),
        ('kind = "pairwise"\ncriterion = "x"\n', "E-OPTION", 'label = "pair"'),
    ],
)
def test_a_name_that_is_not_known_is_said_with_the_judge_that_has_it(
    harness: Harness, task: Path, settings: str, code: str, said: str
) -> None:
    write_judge(task, "typo", settings)
    ran = judge(harness, "calibrate", task)
    assert ran.code == 2
    assert f"error[{code}]" in ran.err
    assert said in ran.err
    assert "judge.toml" in ran.err


@pytest.mark.parametrize("rubric", ["", " \n\t\n"])
def test_an_empty_rubric_is_refused(harness: Harness, task: Path, rubric: str) -> None:
    folder = write_judge(task, "loud", LOUD)
    (folder / "rubric.md").write_text(rubric)
    for command in ("judge calibrate", "label"):
        ran = harness(*command.split(), f"task={task}", *FAKE)
        assert ran.code == 2
        assert "rubric.md is empty" in ran.err


@pytest.mark.parametrize(
    ("n_prompts", "backend", "code"), [(24, "fake", "E-TUNING"), (9, "hf", "E-LABELS")], ids=["backend", "labels"]
)
def test_a_judge_that_cannot_learn_stops_a_run_before_anything_is_written(
    harness: Harness, task: Path, n_prompts: int, backend: str, code: str
) -> None:
    """Nine prompts are one too few to tune on; the fake backend cannot train."""
    settings = 'kind = "tuned"\ncriterion = "loudness"\nlabel = "pass_fail"\n'
    write_judge(task, "tu", settings + (f'backend.name = "{backend}"\n' if backend != "fake" else ""))
    (task / "labels.jsonl").write_bytes(b"".join(canonical(label, indent=None) for label in labels(n_prompts)))
    ran = harness("run", f"task={task}", "metrics.primary=judge:tu", "metrics.fallback=exact_match", *FAKE)
    assert ran.code == 2
    assert f"error[{code}]" in ran.err
    assert not Path("runs").exists()


def test_a_judge_that_is_the_candidates_own_model_says_so_on_its_card(harness: Harness, task: Path) -> None:
    write_judge(task, "loud", LOUD)
    write_judge(task, "prompted", 'kind = "likert"\ncriterion = "loudness"\nlabel = "pass_fail"\n')
    ran = judge(harness, "calibrate", task, "--json")
    assert ran.code == 0, ran.err
    notes = {card["judge"]: card["notes"] for card in json.loads(ran.out)}
    same = "the judge is the same model as the candidates, untuned"
    assert any(note.startswith(same) for note in notes["prompted"])
    assert not any(same in note for note in notes["loud"])


def test_table_of_a_run_names_no_judge_without_a_licence_as_if_it_had_one(harness: Harness, task: Path) -> None:
    write_judge(task, "loud", LOUD)
    (task / "labels.jsonl").unlink()
    words = ("metrics.primary=exact_match", 'metrics.report=["judge:loud"]', *FAKE)
    ran = harness("run", f"task={task}", *words)
    assert ran.code == 0, ran.err
    assert "judge:loud (uncalibrated)" in ran.out
    assert ".." not in ran.out.replace("...", "")
