"""How a record is written down: a few usual ways and an open pool of separators."""

import json
from dataclasses import dataclass

from harness.demo.corpus import words
from harness.demo.corpus.dice import Dice

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Form:
    """A way to write (key, value) pairs: what stands around each, between key and value, and between pairs."""

    before: str
    between: str
    after: str
    joint: str

    def write(self, pairs: Pairs) -> str:
        """The pairs as text."""
        return self.joint.join(f"{self.before}{key}{self.between}{value}{self.after}" for key, value in pairs)


class JsonForm:
    """A record as one line of JSON with string values."""

    def write(self, pairs: Pairs) -> str:
        """The pairs as text."""
        return json.dumps(dict(pairs), ensure_ascii=False)


def draw_form(dice: Dice, p_json: float = 0.15) -> Form | JsonForm:
    """A form at random: JSON, key and value a line, or pairs in a row."""
    if dice.chance(p_json):
        return JsonForm()
    joint = dice.weighted((("\n", 9), ("; ", 3), (", ", 3), (" | ", 2), (" / ", 1), (f" {words.invented(dice)} ", 1)))
    between = dice.weighted(
        ((": ", 9), (" = ", 2), ("=", 2), (" - ", 2), (" is ", 1), (" -> ", 1), (" ", 1), (" :: ", 1))
    )
    before, after = dice.weighted(((("", ""), 12), (("- ", ""), 2), (("[", "]"), 1), (("<", ">"), 1), (("", "."), 1)))
    return Form(before, between, after, joint)
