"""What a backend that is paid by call or token will be asked is said before it is, and bounds what it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.backends.openai import OpenAIKind
from tests.backends.remote.server import Model, answering, serving

BACKEND = "backend=openai"


def test_a_new_choice_says_what_it_may_ask_before_it_asks(harness: Callable[..., Any], echo_task: Path) -> None:
    wordings = 'prompting.instructions=["Shout.", "Say it loudly."]'
    with serving(answering(Model())) as server:
        words = ("run", f"task={echo_task}", BACKEND, f"base_url={server.url}", "model=model", "trainer=none", wordings)
        ran = harness(*words, "n_resamples=100")
        assert ran.code == 0, ran.err
    (run,) = Path("runs/echo").glob("*/result.json")
    # Nobody is there to be asked any more.
    again = harness("select", str(run.parent), "metrics.primary=squad_f1")
    assert again.code == 5, again.err
    # Of four arms in other words no one was better than the task's own, so none was asked the 40 test samples. Now one
    # may be, at most one with three draws of two shots.
    assert "this choice asks for at most 120 calls and" in again.err
    assert again.err.index("this choice asks") < again.err.index("E-UNREACHABLE")


def test_a_new_choice_among_what_was_tested_asks_and_announces_nothing(
    harness: Callable[..., Any], echo_task: Path
) -> None:
    with serving(answering(Model())) as server:
        words = ("run", f"task={echo_task}", BACKEND, f"base_url={server.url}", "model=model", "trainer=none")
        assert harness(*words, "n_resamples=100").code == 0
        n_before = len(server.real)
        (run,) = Path("runs/echo").glob("*/result.json")
        again = harness("select", str(run.parent), "metrics.primary=squad_f1")
        assert again.code == 0, again.err
        assert len(server.real) == n_before
    assert "asks for at most" not in again.err


def write_judge(task: Path, kind: str, settings: str = "") -> None:
    """A judge called `loud`, and a person's labels of two different answers to each of 20 questions."""
    folder = task / "judges" / "loud"
    folder.mkdir(parents=True)
    (folder / "judge.toml").write_text(f'kind = "{kind}"\ncriterion = "loudness"\nlabel = "pass_fail"\n{settings}')
    (folder / "rubric.md").write_text("Is the answer loud, all in capitals?\n")
    common = {"kind": "pass_fail", "criterion": "loudness", "annotator": "ann"}
    rows = [
        {**common, "value": value, "question": f"say word {n}", "answers": [answer], "systems": [system]}
        for n in range(20)
        for value, answer, system in ((0, f"word {n}", "quiet"), (1, f"WORD {n}", "loud"))
    ]
    (task / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


# Below, of 40 answers and 12 canaries each takes a call for log-probabilities and, where not all are told, 16 replies.


@pytest.mark.parametrize(
    ("command", "probes"),
    [("calibrate", ", and what its probes ask"), ("probe", ", and what its probes ask"), ("compare", "; ")],
)
def test_a_judge_says_what_it_may_ask_before_it_asks(
    command: str, probes: str, harness: Callable[..., Any], echo_task: Path
) -> None:
    write_judge(echo_task, "pass_fail")
    words = ("judge", command, f"task={echo_task}", BACKEND, "model=model", "n_resamples=100")
    away = harness(*words, "base_url=http://127.0.0.1:1/v1")
    assert away.code == 5, away.err
    said = rf"judge loud asks for at most 884 calls and [\d,]+ tokens, less what the cache has{re.escape(probes)}"
    assert re.search(said, away.err)
    assert away.err.index("judge loud asks") < away.err.index("E-UNREACHABLE")


# A server that tells is asked 52 times; one that refuses to is asked for replies, and first for what it refuses.
@pytest.mark.parametrize(("refuses", "least", "most"), [((), 52, 52), (("logprobs",), 832, 884)])
def test_what_a_judge_announces_bounds_what_it_asks(
    refuses: Sequence[str], least: int, most: int, harness: Callable[..., Any], echo_task: Path
) -> None:
    write_judge(echo_task, "pass_fail")
    words = ("judge", "compare", f"task={echo_task}", BACKEND, "model=model", "n_resamples=100")
    model = Model(labels={"yes": 0.5, "no": 0.5}, refuses=dict.fromkeys(refuses, "not here"))
    with serving(answering(model)) as server:
        ran = harness(*words, f"base_url={server.url}")
    assert ran.code == 0, ran.err
    assert least <= len(server.real) <= most
    bound = re.search(r"at most 884 calls and ([\d,]+) tokens", ran.err)
    assert bound is not None
    # A prompt is billed as its bytes here, the most that it can be, and as many replies as were asked for.
    sent = sum(len(asked.question.encode()) + asked.body.get("max_tokens", 0) for asked in server.real)
    assert sent <= int(bound[1].replace(",", ""))


# A run of the task has 4 untuned candidates with 16 and 40 answers each, 17 calls an answer at most as above.
WITHOUT_TUNING = "judge loud asks for at most about 4,692 calls and"


def own_server(url: str) -> str:
    """Settings of a judge that asks a server which the run knows nothing of."""
    return f'[model]\nname = "model"\n[backend]\nname = "openai"\nbase_url = "{url}"\n'


AWAY = own_server("http://127.0.0.1:1/v1")


@pytest.mark.parametrize(
    ("trainer", "said"),
    # Three checkpoints answer 16 each, and the chosen one 40: 88 more.
    [("none", WITHOUT_TUNING), ("fake", "judge loud asks for at most about 6,188 calls and")],
)
def test_a_free_run_says_what_its_paid_judge_may_ask_before_it_asks(
    trainer: str, said: str, harness: Callable[..., Any], echo_task: Path
) -> None:
    write_judge(echo_task, "pass_fail", AWAY)
    words = ("run", f"task={echo_task}", "backend=fake", "model=fake", f"trainer={trainer}")
    ran = harness(*words, 'metrics.report=["judge:loud"]', "n_resamples=100")
    assert ran.code == 5, ran.err
    assert said in ran.err
    assert ran.err.index("judge loud asks") < ran.err.index("E-UNREACHABLE")
    assert "this run asks" not in ran.err


@pytest.mark.parametrize("command", ["rescore", "select"])
def test_scoring_again_says_what_a_paid_judge_may_ask_before_it_asks(
    command: str, harness: Callable[..., Any], echo_task: Path
) -> None:
    assert (
        harness("run", f"task={echo_task}", "backend=fake", "model=fake", "trainer=none", "n_resamples=100").code == 0
    )
    (run,) = Path("runs/echo").glob("*/result.json")
    write_judge(echo_task, "pass_fail", AWAY)
    again = harness(command, str(run.parent), 'metrics.report=["judge:loud"]')
    assert again.code == 5, again.err
    assert WITHOUT_TUNING in again.err
    assert again.err.index("judge loud asks") < again.err.index("E-UNREACHABLE")


def test_a_judge_that_asks_the_model_of_a_paid_run_has_a_line_of_its_own(
    harness: Callable[..., Any], echo_task: Path
) -> None:
    write_judge(echo_task, "pass_fail")
    words = ("run", f"task={echo_task}", BACKEND, "base_url=http://127.0.0.1:1/v1", "model=model", "trainer=none")
    ran = harness(*words, 'metrics.report=["judge:loud"]', "n_resamples=100")
    assert ran.code == 5, ran.err
    assert "this run asks for at most 224 calls and" in ran.err
    assert WITHOUT_TUNING in ran.err


def test_what_is_said_of_a_runs_judge_bounds_what_it_asks_its_probes_aside(
    harness: Callable[..., Any], echo_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    create = OpenAIKind.create
    monkeypatch.setattr(OpenAIKind, "create", lambda *args, **more: opened.append(args) or create(*args, **more))
    monkeypatch.setattr("harness.autorater.licensing.run_probes", ())
    with serving(answering(Model(labels={"yes": 0.5, "no": 0.5}))) as server:
        write_judge(echo_task, "pass_fail", own_server(server.url))
        words = ("run", f"task={echo_task}", "backend=fake", "model=fake", "trainer=none")
        ran = harness(*words, 'metrics.report=["judge:loud"]', "n_resamples=100")
    assert ran.code == 0, ran.err
    assert len(opened) == 1
    bound = re.search(r"judge loud asks for at most about 4,692 calls and ([\d,]+) tokens", ran.err)
    assert bound is not None
    # A server that tells log-probabilities is asked once of each answer, and of those that are the same only once.
    assert 52 < len(server.real) <= 52 + 224
    sent = sum(len(asked.question.encode()) + asked.body.get("max_tokens", 0) for asked in server.real)
    assert sent <= int(bound[1].replace(",", ""))


def test_a_judge_that_asks_no_model_announces_nothing(harness: Callable[..., Any], echo_task: Path) -> None:
    write_judge(echo_task, "length")
    with serving(answering(Model())) as server:
        ran = harness("judge", "compare", f"task={echo_task}", BACKEND, "model=model", f"base_url={server.url}")
    assert ran.code == 0, ran.err
    assert "asks for at most" not in ran.err
