"""A tokenizer without a vocabulary: one token a byte, one for each role and one for the end of a turn.

It loses nothing: the turns of a conversation, or the text, can be read back from the token ids.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence

from harness.core.types import Message, Role

ROLES: Mapping[Role, int] = {"system": 256, "user": 257, "assistant": 258}
END = 259


class ByteTokenizer:
    """`harness.core.protocols.Tokenizer` over UTF-8 bytes and four control tokens.

    spell: how the control token of a role, or of the "end", is written in text; no data may hold these words.
    name: what the hash is made of, for tokens of another meaning are another tokenizer.
    """

    eos_id: int | None = END
    bos_id: int | None = None
    special_ids = frozenset({*ROLES.values(), END})

    def __init__(self, spell: Callable[[str], str], name: str) -> None:
        self.spelled = {**{token: spell(role) for role, token in ROLES.items()}, END: spell("end")}
        self.sha256 = hashlib.sha256(name.encode()).hexdigest()
        self._tokens = {spelling: token for token, spelling in self.spelled.items()}
        self._control = re.compile("|".join(map(re.escape, self._tokens)))

    def encode(self, text: str, *, special: bool) -> list[int]:
        """UTF-8 bytes; spelled-out control tokens become one id each where `special`."""
        if not special:
            return list(text.encode())
        ids: list[int] = []
        start = 0
        for found in self._control.finditer(text):
            ids += [*text[start : found.start()].encode(), self._tokens[found[0]]]
            start = found.end()
        return [*ids, *text[start:].encode()]

    def prefix_ids(self) -> list[int]:
        """Nothing stands before plain text."""
        return []

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        """Bytes back to text."""
        parts = (
            self.spelled[i].encode() if i in self.spelled and not skip_special else bytes([i]) if i < 256 else b""
            for i in ids
        )
        return b"".join(parts).decode(errors="backslashreplace")

    def apply_template(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        """Role, words and end of each turn."""
        end = self.spelled[END]
        turns = "".join(f"{self.spelled[ROLES[m.role]]}{m.content}{end}" for m in messages)
        return turns + (self.spelled[ROLES["assistant"]] if add_generation_prompt else "")

    def turns(self, ids: Sequence[int]) -> tuple[Message, ...] | None:
        """The conversation that `ids` ask to go on with; None for plain text.

        ValueError where it is neither: a turn without an end, or words behind the last role.
        """
        if not self.special_ids.intersection(ids):
            return None
        *heads, last = self._parts(ids)
        if last != (ROLES["assistant"], b"", False) or any(not ended for _, _, ended in heads):
            raise ValueError("the prompt does not end where an assistant's turn begins")
        roles = {token: role for role, token in ROLES.items()}
        return tuple(Message(roles[token], words.decode(errors="backslashreplace")) for token, words, _ in heads)

    def _parts(self, ids: Sequence[int]) -> list[tuple[int, bytes, bool]]:
        """(role token, words, whether it has an end) for each turn; ValueError for tokens outside of turns."""
        parts: list[tuple[int, bytearray, bool]] = []
        for token in ids:
            if token in ROLES.values():
                parts.append((token, bytearray(), False))
            elif not parts or parts[-1][2]:
                raise ValueError("there are words outside of all turns")
            elif token == END:
                parts[-1] = (*parts[-1][:2], True)
            else:
                parts[-1][1].append(token)
        return [(token, bytes(words), ended) for token, words, ended in parts]
