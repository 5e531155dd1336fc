"""What a server said, read strictly: an answer, a failure with a name of its own, or nothing that can be read.

A reply is hostile text. Nothing in it is believed beyond what it must say, and what it does not say is not guessed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn

from pydantic import JsonValue

from harness.core.types import Failure, FinishReason
from harness.data.display import escape

SHOWN = 200
_FINISHED: Mapping[str, FinishReason] = {"stop": "stop", "length": "length"}
_OTHER_ENDS = {
    "content_filter": "stopped by the server's content filter",
    "tool_calls": "called a tool in place of an answer",
    "function_call": "called a tool in place of an answer",
}
_NOT_TEXT = Failure("server", "an answer that is not text")
# Where the request holds the prompt itself. What role a turn may have is no matter of one prompt.
_PROMPT = re.compile(r"(messages|prompt|input)\b(?!.*\brole$)")
_LOGPROBS = "logprobs"
_REASONING = ("reasoning_content", "reasoning")
_MOST_TOKENS = 2**40
_TOO_LONG = re.compile(
    r"context[ _](length|window|size)|maximum (context|input|prompt)|prompt is too long|too many (input )?tokens"
    r"|exceeds? the (maximum|available|model)",
    re.IGNORECASE,
)
_FILTERED = re.compile(r"content_filter|content_policy|content management policy", re.IGNORECASE)
# By its code alone: Gemini's sentence about a full minute speaks of quota and billing too.
_NO_MONEY = re.compile(r"insufficient_quota|billing_", re.IGNORECASE)

Table = dict[str, JsonValue]


class Unreadable(Exception):
    """A reply that is not what the protocol says; `detail` is its beginning, safe to show."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as the server gave it.

    n_tokens, n_prompt, n_billed: of the answer, the prompt and all together; None where the server does not count.
    ids: the answer's token ids, where it tells them.
    top: log-probabilities of the first token's likeliest spellings, None where it tells none.
    served, fingerprint: what it says it is; empty where it says nothing.
    """

    text: str
    finish_reason: FinishReason
    n_tokens: int | None = None
    n_prompt: int | None = None
    n_billed: int | None = None
    ids: tuple[int, ...] | None = None
    top: Mapping[str, float] | None = None
    served: str = ""
    fingerprint: str = ""


def document(body: bytes) -> Table:
    """The body as strict JSON; Unreadable for anything else, a byte order mark and NaN among it."""
    try:
        found = json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as err:
        raise Unreadable("the reply is not JSON", beginning(body)) from err
    if not isinstance(found, dict):
        raise Unreadable("the reply is not a JSON object", beginning(body))
    return found


def beginning(body: bytes) -> str:
    """The first bytes of a reply, safe to show."""
    return escape(body[:SHOWN].decode("utf-8", "backslashreplace"), 4 * SHOWN)


def read_chat(body: bytes) -> Reply | Failure:
    """The reply of a chat endpoint."""
    whole = document(body)
    choice = _choice(whole, body)
    if isinstance(choice, Failure):
        return choice
    message = choice.get("message")
    if not isinstance(message, dict):
        return Failure("server", "an answer without a message")
    found = _end(choice) or _content(message, choice)
    if isinstance(found, Failure):
        return found
    return _reply(whole, choice, found, _chat_top(choice.get("logprobs")))


def read_completion(body: bytes) -> Reply | Failure:
    """The reply of a completions endpoint."""
    whole = document(body)
    choice = _choice(whole, body)
    if isinstance(choice, Failure):
        return choice
    text = choice.get("text")
    if failure := _end(choice):
        return failure
    if not isinstance(text, str):
        return Failure("server", "an answer without text")
    if not _is_text(text):
        return _NOT_TEXT
    return _reply(whole, choice, text, _completion_top(choice.get("logprobs")))


def refusal(status: int, body: bytes, fields: Collection[str]) -> Failure | Literal["quota", "parameter"]:
    """Why one request was refused (400, 413, 422, or 429 without money): what it says decides whether it is alone.

    fields: of the request. The body need not be JSON.
    """
    code, parameter, text = _error(body)
    if _NO_MONEY.search(code):
        return "quota"
    if "context_length" in code or status == 413 or _TOO_LONG.search(text):
        return Failure("prompt", "too long for the context")
    if _FILTERED.search(code) or _FILTERED.search(text):
        return Failure("generate", "prompt refused by the server's content filter")
    if _PROMPT.match(parameter):
        return Failure("prompt", f"refused by the server (HTTP {status})")
    if code.startswith("unsupported_") or parameter or _is_about_logprobs(text, fields):
        return "parameter"
    return Failure("server", f"refused (HTTP {status})")


def refused_parameter(body: bytes, fields: Collection[str]) -> str:
    """The field of the request that the server names in its refusal; empty where it names none."""
    _, parameter, text = _error(body)
    quoted = re.search(r"['\"`](max_tokens|temperature|top_p|top_k|seed|stop|repetition_penalty|logprobs)['\"`]", text)
    spelled = _LOGPROBS if _is_about_logprobs(text, fields) else ""
    return parameter or (quoted[1] if quoted else spelled)


def _is_about_logprobs(sentence: str, fields: Collection[str]) -> bool:
    """Whether it is log-probabilities that are refused. Without having been asked for, they are words of a prompt."""
    return _LOGPROBS in fields and _LOGPROBS in sentence.lower()


def says(body: bytes) -> str:
    """The sentence of an error, safe to show."""
    _, _, text = _error(body)
    return escape(text, SHOWN) if text else beginning(body)


def _error(body: bytes) -> tuple[str, str, str]:
    """(code, parameter, sentence) of an error in any of the usual shapes."""
    try:
        whole = document(body)
    except Unreadable:
        return "", "", body[: 10 * SHOWN].decode("utf-8", "replace")
    error = whole.get("error", whole)
    if not isinstance(error, dict):
        return "", "", str(error)
    sentence = error.get("message", error.get("detail", error))
    parameter = error.get("param")
    code = f"{error.get('code') or ''} {error.get('type') or ''}".strip()
    return code, parameter if isinstance(parameter, str) else "", str(sentence)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _choice(whole: Table, body: bytes) -> Table | Failure:
    """The first choice; one is asked for, and servers may give more in any order."""
    if whole.get("error"):
        raise Unreadable("an error in place of an answer", says(body))
    choices = whole.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise Unreadable("a reply without choices", beginning(body))
    if not choices:
        return Failure("server", "no choice in the reply")
    found = [choice for choice in choices if isinstance(choice, dict)]
    return next((choice for choice in found if choice.get("index", 0) == 0), found[0])


def _end(choice: Table) -> Failure | None:
    """Why an answer is none; None where it ended as answers do."""
    reason = choice.get("finish_reason")
    if isinstance(reason, str) and reason in _FINISHED:
        return None
    if isinstance(reason, str) and reason in _OTHER_ENDS:
        return Failure("generate", _OTHER_ENDS[reason])
    said = f"ended for the reason {escape(reason, 40)}" if isinstance(reason, str) else "does not say why it ended"
    return Failure("server", f"the answer {said}")


def _content(message: Table, choice: Table) -> str | Failure:
    content = message.get("content")
    if message.get("tool_calls") and not content:
        return Failure("generate", _OTHER_ENDS["tool_calls"])
    if not content and message.get("refusal"):
        return Failure("generate", "the model refused")
    if not content and any(message.get(name) for name in _REASONING):
        over = choice.get("finish_reason") == "length"
        return Failure("generate", "reasoning used up max_tokens" if over else "reasoning without an answer")
    if content is None:
        return Failure("generate", "an answer without content")
    return content if isinstance(content, str) and _is_text(content) else _NOT_TEXT


def _is_text(text: str) -> bool:
    """Whether a file can hold it: JSON can spell half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reply(whole: Table, choice: Table, text: str, top: Mapping[str, float] | None) -> Reply:
    usage = whole.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    n_tokens, n_prompt = _count(usage.get("completion_tokens")), _count(usage.get("prompt_tokens"))
    whole_count = _count(usage.get("total_tokens"))
    parts = None if n_tokens is None or n_prompt is None else n_tokens + n_prompt
    ids = choice.get("token_ids")
    known = isinstance(ids, list) and all(isinstance(each, int) and not isinstance(each, bool) for each in ids)
    reason = choice.get("finish_reason")
    return Reply(
        text=text,
        finish_reason=_FINISHED[str(reason)],
        n_tokens=n_tokens,
        n_prompt=n_prompt,
        n_billed=max((count for count in (parts, whole_count) if count is not None), default=None),
        ids=tuple(int(str(each)) for each in ids) if known and isinstance(ids, list) else None,
        top=top,
        served=_name(whole.get("model")),
        fingerprint=_name(whole.get("system_fingerprint")),
    )


def _count(value: JsonValue | None) -> int | None:
    sane = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_TOKENS
    return value if sane and isinstance(value, int) else None


def _name(value: JsonValue | None) -> str:
    return escape(value, 120) if isinstance(value, str) else ""


def _chat_top(logprobs: JsonValue | None) -> Mapping[str, float] | None:
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    first = content[0] if isinstance(content, list) and content else None
    listed = first.get("top_logprobs") if isinstance(first, dict) else None
    if not isinstance(listed, list):
        return None
    pairs = [(each.get("token"), each.get("logprob")) for each in listed if isinstance(each, dict)]
    return _likely(pairs)


def _completion_top(logprobs: JsonValue | None) -> Mapping[str, float] | None:
    listed = logprobs.get("top_logprobs") if isinstance(logprobs, dict) else None
    if isinstance(listed, list) and listed and isinstance(listed[0], dict):
        return _likely(list(listed[0].items()))
    # llama.cpp answers completions in the shape of chats.
    return _chat_top(logprobs)


def _likely(pairs: list[tuple[JsonValue | None, JsonValue | None]]) -> Mapping[str, float] | None:
    """Token -> log-probability; None unless every one is a probability."""
    found: dict[str, float] = {}
    for token, value in pairs:
        sane = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value <= 1e-6
        if not isinstance(token, str) or not sane or not isinstance(value, int | float):
            return None
        found[token] = max(found.get(token, -math.inf), min(float(value), 0.0))
    return found or None
