"""The key, taken out of what a server says back: nothing of it may bring the key into a file or onto a screen."""

from __future__ import annotations

import json
import re
from functools import partial

from pydantic import JsonValue

# Servers without keys are given words for one (EMPTY, ollama, none), and answers may hold these.
SHORTEST_SECRET = 16
_MASK = "[key]"


def without_key(body: bytes, key: str | None, status: int) -> bytes:
    """The body of a reply without the key; the same bytes where it is not in it.

    Of JSON the strings are searched as they are read, however they were written. Answers hold short keys on as words
    like any other; of all else they are taken out, where they stand as a word of their own.
    """
    if key is None:
        return body
    is_secret = len(key) >= SHORTEST_SECRET
    found = re.compile(re.escape(key) if is_secret else rf"(?<!\w){re.escape(key)}(?!\w)", re.ASCII)
    try:
        said: JsonValue = json.loads(body.decode())
        if not is_secret and _is_answer(said, status):
            return body
        masked = _masked(said, found, names=is_secret)
        return body if masked == said else json.dumps(masked).encode()
    except (ValueError, RecursionError):
        return found.sub(_MASK, body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _is_answer(said: JsonValue, status: int) -> bool:
    return status < 400 and isinstance(said, dict) and "choices" in said and not said.get("error")


def _masked(value: JsonValue, key: re.Pattern[str], *, names: bool) -> JsonValue:
    """The value with every string masked; names: those of fields too."""
    mask = partial(key.sub, _MASK)
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [_masked(each, key, names=names) for each in value]
    if isinstance(value, dict):
        return {mask(n) if names else n: _masked(each, key, names=names) for n, each in value.items()}
    return value
