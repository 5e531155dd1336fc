"""Calls to one server: retried where that can help, ended where it cannot, each answered under its own key.

The calls run on an event loop in a thread of their own, so that whoever waits for answers can be interrupted, and a
generator that is closed leaves nothing running.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from queue import SimpleQueue
from typing import Generic, Literal, TypeVar

import httpx2
import openai
from pydantic import JsonValue

from harness.backends.remote import replies
from harness.backends.remote.address import Server
from harness.backends.remote.budget import Budget
from harness.backends.remote.options import RemoteOptions
from harness.backends.remote.pace import Backoff, Jitter, Pace, Streak, retry_after_s
from harness.backends.remote.replies import Reply, Unreadable
from harness.backends.remote.transport import GuardedTransport, Redirected, WireFault
from harness.core.errors import BackendUnreachable, HarnessError
from harness.core.types import Failure

K = TypeVar("K")
T = TypeVar("T")
Kind = Literal["chat", "completion"]

_log = logging.getLogger(__name__)
_PATHS: Mapping[Kind, str] = {"chat": "/chat/completions", "completion": "/completions"}
_READERS: Mapping[Kind, Callable[[bytes], Reply | Failure]] = {
    "chat": replies.read_chat,
    "completion": replies.read_completion,
}
# Too much for the server: it will bear the request later.
_BUSY = frozenset({429, 503, 529})
_PASSING = frozenset({408, 409, 425, *range(500, 600)})
_REFUSED = frozenset({400, 413, 422})
# Somebody on the way had no more patience; the model may have answered.
_TOO_LATE = frozenset({504, 524})
# The client wants some key; the real one is put on where the request leaves.
_NO_KEY = "none"
_JOIN_S = 5.0
_FIRST_TRIES = 2


@dataclass(frozen=True, slots=True)
class Call(Generic[K]):
    """One request to an endpoint. key: whose answer it is. is_greedy: whether the same request gets the same answer.

    tokens_at_most: what it may be billed, where the server does not say. is_check: asked beyond the budget too.
    """

    key: K
    kind: Kind
    body: Mapping[str, JsonValue]
    tokens_at_most: int
    is_greedy: bool = True
    is_check: bool = False


@dataclass(frozen=True, slots=True)
class _Passing:
    """A failure that may pass. wait_s: what the server asked for; is_busy: whether it has too much to do.

    may_be_billed: whether there may have been an answer that did not get here.
    """

    failure: Failure
    detail: str = ""
    wait_s: float | None = None
    is_busy: bool = False
    is_timeout: bool = False
    may_be_billed: bool = False


class Refused(Exception):
    """The server does not take a field of the request."""

    def __init__(self, parameter: str, sentence: str) -> None:
        super().__init__(sentence)
        self.parameter = parameter
        self.sentence = sentence


@dataclass
class _Batch(Generic[K]):
    """Calls that are answered together. held: failures that only an answer to somebody else will make final."""

    todo: Iterator[Call[K]]
    give: Callable[[tuple[K, Reply | Failure]], None]
    held: list[tuple[Call[K], _Passing]] = field(default_factory=list)
    over: HarnessError | None = None

    def release(self) -> None:
        """The server answers others, so these requests failed by themselves."""
        for call, passing in self.held:
            self.give((call.key, passing.failure))
        self.held.clear()


class Client:
    """A server that is asked, and how far it can be relied on.

    control: a call that is known to be answered; it tells a dead server from requests that kill their own answers.
    """

    def __init__(self, server: Server, key: str | None, options: RemoteOptions, jitter: Jitter) -> None:
        self.control: Call[str] | None = None
        self.budget = Budget(options.max_calls, options.max_tokens)
        self.retried: set[object] = set()
        self._server = server
        self._key = key
        self._options = options
        self._jitter = jitter
        self._backoff = Backoff(options.backoff_s, jitter)
        self._streak = Streak()
        self._is_closed = False

    def answers(self, calls: Iterable[Call[K]]) -> Iterator[tuple[K, Reply | Failure]]:
        """(key, answer) of every call, as they come; a call is made up when it is about to be sent.

        BackendUnreachable where the server is gone, refuses the key or the model, or the budget is used up: calls
        without an answer are then not answered with a failure, for they can be asked again. Refused for a field.
        """
        results: SimpleQueue[tuple[K, Reply | Failure] | None] = SimpleQueue()
        batch = _Batch(iter(calls), results.put)
        running = asyncio.run_coroutine_threadsafe(self._all(batch), self._loop)
        running.add_done_callback(lambda _: results.put(None))
        try:
            while (item := results.get()) is not None:
                yield item
            running.result()
        finally:
            running.cancel()

    def one(self, call: Call[K]) -> Reply | Failure:
        """The answer to one call; as `answers`."""
        ((_, answer),) = self.answers([call])
        return answer

    def models(self) -> tuple[str, ...]:
        """Names that the server says it has; none where it does not say."""
        with suppress(HarnessError, Refused):
            return self._wait(self._models())
        return ()

    def close(self) -> None:
        """Stop what is running and close every connection; harmless when repeated."""
        if self._is_closed or "_loop" not in self.__dict__:
            return
        self._is_closed = True
        with suppress(TimeoutError, asyncio.CancelledError):
            asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(_JOIN_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_JOIN_S)
        if not self._thread.is_alive():
            self._loop.close()

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="hosted-model", daemon=True)
        self._thread.start()
        return loop

    def _wait(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    @cached_property
    def _inner(self) -> openai.AsyncOpenAI:
        """The OpenAI client over the guarded transport; made on the loop that it belongs to."""
        timeout = httpx2.Timeout(
            connect=self._options.connect_timeout_s,
            read=self._options.timeout_s,
            write=self._options.timeout_s,
            pool=None,
        )
        transport = GuardedTransport(self._server, self._key)
        return openai.AsyncOpenAI(
            api_key=_NO_KEY,
            base_url=self._server.url,
            max_retries=0,
            timeout=timeout,
            http_client=httpx2.AsyncClient(
                transport=transport, follow_redirects=False, trust_env=False, timeout=timeout
            ),
        )

    @cached_property
    def _pace(self) -> Pace:
        return Pace(self._options.max_concurrency, self._jitter)

    async def _all(self, batch: _Batch[K]) -> None:
        """Every call of a batch by as many workers as there may be requests; the first error ends them all."""
        workers = [asyncio.ensure_future(self._work(batch)) for _ in range(self._options.max_concurrency)]
        try:
            await asyncio.gather(*workers)
            if batch.over is not None:
                raise batch.over
            if batch.held:
                await self._ask_control(batch.held[0][1])
                batch.release()
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, batch: _Batch[K]) -> None:
        while batch.over is None and (call := next(batch.todo, None)) is not None:
            found = await self._answered(call, batch)
            if isinstance(found, _Passing):
                batch.held.append((call, found))
            elif found is not None:
                batch.give((call.key, found))

    async def _answered(self, call: Call[K], batch: _Batch[K]) -> Reply | Failure | _Passing | None:
        """An answer, after as many tries as it may take; None where the batch is over and it was not asked."""
        for n_failures in count(1):
            if batch.over is not None:
                return None
            try:
                found = await self._attempt(call)
            except BackendUnreachable as error:
                if error.code != "E-BUDGET":
                    raise
                # What is under way was paid for, and is waited for.
                batch.over = error
                return None
            if not isinstance(found, _Passing):
                batch.release()
                return found
            _log.info("%s: %s%s", self._server.url, found.failure.reason, found.detail and f" ({found.detail})")
            if self._streak.is_over:
                await self._ask_control(found)
                batch.release()
            # A sampled answer that took too long would be replaced by a shorter one.
            rerolls = found.is_timeout and not call.is_greedy
            if rerolls or n_failures > self._tries(found):
                return found
            self.retried.add(call.key)
            await asyncio.sleep(max(self._backoff.wait_s(n_failures), found.wait_s or 0.0))
        return None

    def _tries(self, found: _Passing) -> int:
        """Retries of one request. A server that never answered yet is soon given up: its address may be wrong."""
        patient = self.control is not None or found.is_busy
        return self._options.retries if patient else min(_FIRST_TRIES, self._options.retries)

    async def _ask_control(self, last: _Passing) -> None:
        """Whether the server still answers what it answered before; BackendUnreachable where it does not."""
        if self.control is not None and not isinstance(await self._attempt(self.control), _Passing):
            return
        detail = f": {last.detail}" if last.detail else ""
        raise BackendUnreachable(
            f"{self._server.url} does not answer: {last.failure.reason}{detail}",
            fix="start the server, or wait until it is well; what was answered is kept and not asked again",
            code="E-SERVER" if last.detail else "E-UNREACHABLE",
        )

    async def _attempt(self, call: Call[T]) -> Reply | Failure | _Passing:
        """One try: paced, counted, timed; what it says of the server is taken down."""
        entered = await self._pace.enter()
        began = self._streak.began
        try:
            self.budget.begin(is_check=call.is_check)
            found = await self._sent(call)
            if not isinstance(found, _Passing):
                self._streak.answered()
                self._pace.grow()
                self.budget.spend(_billed(call, found))
                return found
            if found.may_be_billed:
                self.budget.spend(call.tokens_at_most)
            # Who waited a whole timeout has seen enough alone.
            self._streak.failed(self._streak.began if found.is_timeout else began)
            if found.is_busy or found.is_timeout:
                self._pace.cut(entered, found.wait_s)
            return found
        finally:
            await self._pace.leave()

    async def _sent(self, call: Call[T]) -> Reply | Failure | _Passing:
        try:
            async with asyncio.timeout(self._options.timeout_s):
                response = await self._inner.post(_PATHS[call.kind], cast_to=httpx2.Response, body=dict(call.body))
                return _READERS[call.kind](response.content)
        except (TimeoutError, openai.APITimeoutError) as err:
            if isinstance(err.__cause__, httpx2.ConnectTimeout):
                return _Passing(Failure("server", "no connection (ConnectTimeout)"))
            return _Passing(Failure("server", "no answer in time"), is_timeout=True, may_be_billed=True)
        except openai.APIStatusError as err:
            return self._status(call, err.status_code, err.response.content, err.response.headers)
        except openai.APIConnectionError as err:
            return _no_connection(err.__cause__)
        except Redirected as err:
            raise self._redirected(err) from None
        except WireFault as err:
            return _Passing(Failure("server", err.reason), err.detail, may_be_billed=err.was_sent)
        except Unreadable as err:
            return _Passing(Failure("server", err.reason), err.detail, may_be_billed=True)
        except httpx2.HTTPError as err:
            return _no_connection(err)

    def _status(self, call: Call[T], status: int, body: bytes, headers: Mapping[str, str]) -> Failure | _Passing:
        """What an error status means; the body of one about keys is not shown, for it may repeat them."""
        why = replies.refusal(status, body, call.body)
        if status == 402 or why == "quota":
            raise _ended("E-QUOTA", f"{self._server.url} wants money (HTTP {status})", "pay, or use another account")
        if status in (401, 403):
            what = "refuses the key" if self._key else "wants a key, and there is none"
            raise _ended("E-AUTH", f"{self._server.url} {what} (HTTP {status})", _KEY_FIX)
        if status in _BUSY:
            wait = retry_after_s(headers)
            return _Passing(Failure("server", f"too busy (HTTP {status})"), wait_s=wait, is_busy=True)
        if status in _PASSING:
            failure, late = Failure("server", f"error (HTTP {status})"), status in _TOO_LATE
            return _Passing(failure, replies.says(body), retry_after_s(headers), may_be_billed=late)
        if status in _REFUSED and isinstance(why, Failure):
            return why
        if status in _REFUSED:
            raise Refused(replies.refused_parameter(body, call.body), replies.says(body))
        raise _ended("E-MODEL", f"{self._server.url} says HTTP {status}: {replies.says(body)}", _MODEL_FIX)

    def _redirected(self, err: Redirected) -> BackendUnreachable:
        what = f"{self._server.url}: {err.reason} to {err.detail}; nothing was sent there"
        return _ended("E-REDIRECT", what, "if that is where the model is, name it in backend.base_url")

    async def _models(self) -> tuple[str, ...]:
        try:
            async with asyncio.timeout(self._options.connect_timeout_s):
                response = await self._inner.get("/models", cast_to=httpx2.Response)
            listed = replies.document(response.content).get("data")
        except (openai.OpenAIError, httpx2.HTTPError, WireFault, Unreadable, TimeoutError):
            return ()
        names = [each.get("id") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        return tuple(name for name in names if isinstance(name, str))

    async def _shut(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if "_inner" in self.__dict__:
            await self._inner.close()


_KEY_FIX = "export OPENAI_API_KEY=..., or name the variable with the key in backend.options.api_key_env"
_MODEL_FIX = "check model= and backend.base_url; most servers' ends in /v1"


def _ended(code: str, what: str, fix: str) -> BackendUnreachable:
    return BackendUnreachable(what, fix=fix, code=code)


def _no_connection(cause: BaseException | None) -> _Passing:
    """A connection that was not there, or did not last: then the request may have been answered."""
    failure = Failure("server", f"no connection ({type(cause).__name__})")
    return _Passing(failure, may_be_billed=not isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout))


def _billed(call: Call[K], found: Reply | Failure) -> int:
    """Tokens of a call that was answered; a failure may have been generated too."""
    known = found.n_billed if isinstance(found, Reply) else None
    return call.tokens_at_most if known is None else known
