"""When an answer has ended, and what it says: by an end token, a stop string or its length; for every engine alike."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.protocols import Tokenizer
from harness.core.types import Completion, Request


class Endings:
    """Looks at what was generated after every token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._texts: dict[int, str] = {}

    def completion(self, request: Request, ids: Sequence[int]) -> Completion | None:
        """The completion if `ids`, all generated so far, end with their newest token; None while they go on."""
        sampling = request.sampling
        if ids[-1] in request.stop_ids:
            return Completion(continuation_text(self._tokenizer, request.ids, ids[:-1]), "stop", len(ids))
        if (text := self._before_stop(request, ids)) is not None:
            return Completion(text, "stop", len(ids))
        if len(ids) >= sampling.max_tokens:
            return Completion(continuation_text(self._tokenizer, request.ids, ids), "length", len(ids))
        return None

    def _before_stop(self, request: Request, ids: Sequence[int]) -> str | None:
        """The text before the first stop string, once there is one.

        Only the tail is looked at until a stop string shows: its newest token must belong to it, and each token
        holds at least one byte. Bytes of an unfinished character decode to a replacement mark and never match.
        """
        stops = request.sampling.stop
        if not stops or not self._may_end(ids[-1], stops):
            return None
        tail = max(len(stop.encode()) for stop in stops) + 8
        recent = continuation_text(self._tokenizer, request.ids, ids[-tail:])
        if not any(stop in recent for stop in stops):
            return None
        text = continuation_text(self._tokenizer, request.ids, ids)
        found = [place for stop in stops if (place := text.find(stop)) >= 0]
        return text[: min(found)] if found else None

    def _may_end(self, token: int, stops: Sequence[str]) -> bool:
        """Whether a stop string can end with this token; a token alone may lose a blank, or be half a character."""
        if token not in self._texts:
            self._texts[token] = self._tokenizer.decode([token], skip_special=False)
        text = self._texts[token]
        return not text or "\ufffd" in text or any(" " in stop or not set(stop).isdisjoint(text) for stop in stops)


def continuation_text(tokenizer: Tokenizer, prompt: Sequence[int], ids: Sequence[int]) -> str:
    """What `ids` say behind a prompt: decoders of SentencePiece vocabularies drop a blank that begins a text.

    Control tokens in the middle of an answer are shown, not hidden: they mean that something is wrong.
    """
    before = tokenizer.decode(prompt[-1:], skip_special=False)
    whole = tokenizer.decode([*prompt[-1:], *ids], skip_special=False)
    # A prompt that ends inside a character has no text of its own there.
    return whole.removeprefix(before) if whole.startswith(before) else tokenizer.decode(ids, skip_special=False)
