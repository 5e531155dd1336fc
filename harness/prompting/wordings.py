"""Other wordings of the task's instruction, each with a renderer of its own."""

from __future__ import annotations

from harness.core.protocols import Tokenizer
from harness.core.specs import PromptingSpec
from harness.prompting.chat import Renderer


class Renderers:
    """The renderer of the task's own words, which training and every tuned candidate use, and those of the others."""

    def __init__(self, tokenizer: Tokenizer, spec: PromptingSpec, *, train_on_all: bool = False) -> None:
        self.own = Renderer(tokenizer, spec, train_on_all=train_on_all)
        self._others = {text: Renderer(tokenizer, reworded(spec, text)) for text in spec.instructions}

    def of(self, instruction: str | None) -> Renderer:
        """The renderer of one of the task's `prompting.instructions`; None for the task's own words."""
        return self.own if instruction is None else self._others[instruction]


def reworded(spec: PromptingSpec, instruction: str) -> PromptingSpec:
    """The same prompting with another instruction before the last user turn; the system instruction stays.

    >>> reworded(PromptingSpec(system="Be brief.", instruction="Sum up."), "Write one sentence.").instruction
    'Write one sentence.'
    """
    return spec.model_copy(update={"instruction": instruction})
