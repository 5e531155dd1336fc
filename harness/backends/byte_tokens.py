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
_LAST_BYTE = 255


class ByteTokenizer:
    """`harness.core.protocols.Tokenizer` over UTF-8 bytes and four control tokens.

    spell: how the control token of a role, or of the "end", is written in text; no data may hold these words.
    name: what the hash is made of, for tokens of another meaning are another tokenizer.
    """

    counts_bytes = False
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
        places = [place for place, token in enumerate(ids) if token > _LAST_BYTE]
        *pairs, last = places
        if last != len(ids) - 1 or ids[last] != ROLES["assistant"]:
            raise ValueError("the prompt does not end where an assistant's turn begins")
        begins, ends = pairs[::2], pairs[1::2]
        if [ids[place] for place in ends] != [END] * len(begins) or END in [ids[place] for place in begins]:
            raise ValueError("a turn has no end")
        if [0, *(place + 1 for place in ends)] != [*begins, last]:
            raise ValueError("there are words outside of all turns")
        roles = {token: role for role, token in ROLES.items()}
        words = (bytes(ids[start + 1 : stop]) for start, stop in zip(begins, ends, strict=True))
        return tuple(
            Message(roles[ids[start]], said.decode(errors="backslashreplace"))
            for start, said in zip(begins, words, strict=True)
        )
