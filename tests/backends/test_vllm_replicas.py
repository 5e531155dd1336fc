"""Several engines as one: nobody is lost, nobody is answered twice, and what one raises is not swallowed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness.core.errors import EnvironmentFault
from harness.models.vllm.asking import answers
from harness.models.vllm.engine import EngineSettings, News, Question
from harness.models.vllm.replicas import Replicas, gpus_of, start_replicas
from tests.backends.test_vllm_requests import Written

SETTINGS = EngineSettings(Path("m"), "cuda", "float32", 64, enforce_eager=True, data_parallel_size=3)
QUESTION = Question((1,), {"max_tokens": 2})


class Slow(Written):
    """Answers one question a step, the oldest first."""

    def step(self) -> list[News]:
        if not self._under_way:
            return []
        name = next(iter(self._under_way))
        later = {each: q for each, q in self._under_way.items() if each != name}
        self._under_way = {name: self._under_way[name]}
        found = super().step()
        self._under_way = later
        return found

    def abort(self, names: object) -> None:
        super().abort(names)  # type: ignore[arg-type]
        self._under_way = {name: q for name, q in self._under_way.items() if name not in self.aborted}


def test_every_question_is_answered_once_and_the_work_is_shared():
    engines = [Slow(SETTINGS) for _ in range(3)]
    replicas = Replicas(engines)
    try:
        questions = {str(n): Question((n,), {"max_tokens": 2}) for n in range(90)}
        for _ in range(2):
            found = list(answers(replicas, questions, lambda news: news.ids))
            assert sorted(name for name, _ in found) == sorted(questions)
            assert all(ids == (20, 20) for _, ids in found)
    finally:
        replicas.close()
    # What an engine is given depends on how fast it is, within the window.
    assert sum(len(engine.asked) for engine in engines) == 180
    assert min(len(engine.asked) for engine in engines) >= 30
    assert all(engine.closed for engine in engines)


def test_what_an_engine_raises_is_raised():
    class Breaking(Slow):
        def step(self) -> list[News]:
            raise EnvironmentFault("vLLM stopped", fix="backend=hf", code="E-ENGINE")

    engines = [Slow(SETTINGS), Breaking(SETTINGS)]
    replicas = Replicas(engines)
    with pytest.raises(EnvironmentFault, match="vLLM stopped"):
        list(answers(replicas, {str(n): QUESTION for n in range(4)}, lambda news: news.ids))
    assert replicas.closed
    replicas.close()
    assert all(engine.closed for engine in engines)


def test_answers_that_nobody_waits_for_are_aborted_where_they_were_asked_for():
    engines = [Slow(SETTINGS) for _ in range(2)]
    replicas = Replicas(engines)
    found = answers(replicas, {str(n): QUESTION for n in range(40)}, lambda news: news.ids)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert sorted(name for name, _ in answers(replicas, {"new": QUESTION}, lambda news: news.ids)) == ["new"]
    replicas.close()
    for engine in engines:
        assert set(engine.aborted) <= set(engine.names)
        assert engine._under_way == {}


class Endless(Written):
    """Gives every question a token a step, its prompt's first, and never ends one; steps take a while."""

    def step(self) -> list[News]:
        time.sleep(0.001)
        return [News(name, question.ids[:1]) for name, question in self._under_way.items()]

    def abort(self, names: Iterable[str]) -> None:
        for name in names:
            self._under_way.pop(name, None)


def test_news_of_an_aborted_question_reaches_nobody_else_of_its_name():
    """Stop strings end questions from outside, while the engine computes on: what it says then is nobody's."""
    replicas = Replicas([Endless(SETTINGS) for _ in range(2)])

    def batch(prompt: int) -> dict[str, object]:
        said: dict[str, list[int]] = {}

        def read(news: News) -> tuple[int, ...] | None:
            time.sleep(0.0005)
            ids = said.setdefault(news.name, [])
            ids += news.ids
            return tuple(ids) if len(ids) >= 3 else None

        asked = {f"0 s{n}": Question((prompt,), {"max_tokens": 99}, streamed=True) for n in range(8)}
        return dict(answers(replicas, asked, read))

    try:
        for prompt in range(1, 5):
            assert batch(prompt) == {f"0 s{n}": (prompt,) * 3 for n in range(8)}
    finally:
        replicas.close()


def test_adapters_leave_every_engine_before_the_next_question():
    engines = [Slow(SETTINGS) for _ in range(2)]
    replicas = Replicas(engines)
    list(answers(replicas, {str(n): QUESTION for n in range(4)}, lambda news: news.ids))
    replicas.forget({7})
    list(answers(replicas, {"after": QUESTION}, lambda news: news.ids))
    replicas.close()
    assert [engine.forgotten for engine in engines] == [[{7}], [{7}]]


def test_each_engine_sees_gpus_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    seen: list[str] = []

    def start(settings: EngineSettings) -> Written:
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
        return Written(settings)

    pair = EngineSettings(
        Path("m"), "cuda", "float32", 64, enforce_eager=True, tensor_parallel_size=2, data_parallel_size=2
    )
    start_replicas(pair, 2, start).close()
    assert (seen, os.environ["CUDA_VISIBLE_DEVICES"]) == (["4,5", "6,7"], "4,5,6,7")
    assert [gpus_of(number, 1, None) for number in range(3)] == ["0", "1", "2"]


def test_if_one_cannot_start_the_others_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    started: list[Written] = []

    def start(settings: EngineSettings) -> Written:
        if started:
            raise EnvironmentFault("there is no second GPU", fix="backend=hf", code="E-ENGINE")
        started.append(Written(settings))
        return started[-1]

    with pytest.raises(EnvironmentFault, match="no second GPU"):
        start_replicas(SETTINGS, 3, start)
    assert started[0].closed
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_two_engines_of_vllm_answer_as_one_does(zoo: dict[str, Path], tmp_path: Path):
    """In processes of their own, as on two GPUs; from a program of its own, whose processes start anew."""
    import subprocess
    import sys

    from harness.core.types import Completion, Request, Sampling
    from tests.backends.test_vllm import write_llama
    from tests.models.fixtures import open_backend, some_rows

    folder = write_llama(zoo["llama3"], tmp_path / "llama")
    program = tmp_path / "program.py"
    rows = [row.ids for row in some_rows(12, seed=5)]
    program.write_text(
        "from harness.backends.vllm import backend\n"
        "from harness.core.specs import BackendSpec, ModelSpec\n"
        "from harness.core.types import Request, Sampling\n"
        "if __name__ == '__main__':\n"
        "    options = {'data_parallel_size': 2, 'kv_cache_gib': 0.25}\n"
        f"    model = ModelSpec(name={str(folder)!r}, device='cpu')\n"
        "    opened = backend.create(model, BackendSpec(options=options), thinking=False)\n"
        f"    asked = [Request(str(n), ids, Sampling(12), ()) for n, ids in enumerate({rows!r})]\n"
        "    for name, outcome in sorted(opened.generate(asked), key=lambda each: int(each[0])):\n"
        "        print(ascii(outcome.text))\n"
        "    opened.close()\n"
    )
    found = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    requests = [Request(str(n), ids, Sampling(12), ()) for n, ids in enumerate(rows)]
    expected = dict(open_backend(folder).generate(requests))
    texts = [outcome.text for outcome in expected.values() if isinstance(outcome, Completion)]
    assert len(texts) == 12
    by_name = [expected[str(n)] for n in range(12)]
    assert found.stdout.splitlines() == [ascii(each.text) for each in by_name if isinstance(each, Completion)]
