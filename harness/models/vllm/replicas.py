"""Several engines of one model, each with its own GPUs, asked as if they were one: data parallelism.

vLLM's own is a matter of its server; engines in one program are stepped here, each by a thread that does nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Thread

from harness.models.vllm.engine import Engine, EngineSettings, News, Question

_VISIBLE = "CUDA_VISIBLE_DEVICES"


class Replicas:
    """`Engine` over engines with the same settings; each question goes to the one with the least to do."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._news: SimpleQueue[list[News] | BaseException] = SimpleQueue()
        self._lanes = [_Lane(engine, self._news) for engine in engines]
        self._closed = False

    @property
    def settings(self) -> EngineSettings:
        """What each was started with."""
        return self._lanes[0].engine.settings

    @property
    def closed(self) -> bool:
        """Whether they have ended, or one will answer no more."""
        return self._closed

    def add(self, name: str, question: Question) -> None:
        """To the engine with the least to do."""
        min(self._lanes, key=lambda lane: len(lane.under_way)).add(name, question)

    def step(self) -> list[News]:
        """Wait for news, and give all there are; what an engine raises is raised here."""
        found = [self._news.get()]
        while True:
            try:
                found.append(self._news.get_nowait())
            except Empty:
                break
        for news in found:
            if isinstance(news, BaseException):
                self._closed = True
                raise news
        return [each for news in found if not isinstance(news, BaseException) for each in self._told(news)]

    def abort(self, names: Iterable[str]) -> None:
        """Where they were handed in."""
        dropped = set(names)
        for lane in self._lanes:
            lane.abort(dropped & lane.under_way)

    def forget(self, numbers: Iterable[int]) -> None:
        """On every engine; it comes before whatever is handed in next."""
        taken_off = set(numbers)
        for lane in self._lanes:
            lane.do(lambda engine: engine.forget(taken_off))

    def close(self) -> None:
        """End the threads, then the engines."""
        self._closed = True
        for lane in self._lanes:
            lane.end()
        for lane in self._lanes:
            lane.engine.close()

    def _told(self, news: Sequence[News]) -> Sequence[News]:
        for each in news:
            if each.ended is not None:
                for lane in self._lanes:
                    lane.under_way.discard(each.name)
        return news


class _Lane:
    """One engine and the thread that uses it. under_way: questions without their last news, as the caller knows."""

    def __init__(self, engine: Engine, news: SimpleQueue[list[News] | BaseException]) -> None:
        self.engine = engine
        self.under_way: set[str] = set()
        self._asked: SimpleQueue[Callable[[Engine], None] | None] = SimpleQueue()
        self._news = news
        self._left: set[str] = set()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def add(self, name: str, question: Question) -> None:
        def add(engine: Engine) -> None:
            engine.add(name, question)
            self._left.add(name)

        self.under_way.add(name)
        self.do(add)

    def abort(self, names: set[str]) -> None:
        def abort(engine: Engine) -> None:
            engine.abort(names)
            self._left -= names

        self.under_way -= names
        if names:
            self.do(abort)

    def do(self, work: Callable[[Engine], None]) -> None:
        """Have something done between two steps."""
        self._asked.put(work)

    def end(self) -> None:
        """End the thread, with what it is doing."""
        self._asked.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            for work in self._work():
                work(self.engine)
                if self._left and self._asked.empty():
                    self._step()
        except BaseException as err:
            self._news.put(err)

    def _work(self) -> Iterator[Callable[[Engine], None]]:
        """What was asked for; between it, as long as something is under way, nothing: the engine computes on."""
        while True:
            work = self._asked.get() if not self._left or not self._asked.empty() else _nothing
            if work is None:
                return
            yield work

    def _step(self) -> None:
        news = [each for each in self.engine.step() if each.name in self._left]
        self._left -= {each.name for each in news if each.ended is not None}
        if news:
            self._news.put(news)


def _nothing(engine: Engine) -> None:
    """Nothing to do but to compute on."""


def start_replicas(settings: EngineSettings, n: int, start: Callable[[EngineSettings], Engine]) -> Replicas:
    """n engines, one after the other, each seeing its own GPUs; if one cannot start, the others end."""
    engines: list[Engine] = []
    try:
        for number in range(n):
            with _seeing(number, settings.tensor_parallel_size, settings.device):
                engines.append(start(settings))
    except BaseException:
        for engine in engines:
            engine.close()
        raise
    return Replicas(engines)


def gpus_of(number: int, size: int, visible: str | None) -> str:
    """The GPUs of an engine, of those that this process may see.

    >>> gpus_of(1, 2, None), gpus_of(1, 2, "4,5,6,7")
    ('2,3', '6,7')
    """
    names = visible.split(",") if visible else [str(each) for each in range((number + 1) * size)]
    return ",".join(names[number * size : (number + 1) * size])


@contextmanager
def _seeing(number: int, size: int, device: str) -> Iterator[None]:
    """An engine's processes see the GPUs that are visible when they start."""
    before = os.environ.get(_VISIBLE)
    if device == "cuda":
        os.environ[_VISIBLE] = gpus_of(number, size, before)
    try:
        yield
    finally:
        if before is not None:
            os.environ[_VISIBLE] = before
        elif device == "cuda":
            os.environ.pop(_VISIBLE, None)
