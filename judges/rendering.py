"""A judge's prompt as token ids: the chat template's own control tokens, and none that a text spells."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.errors import HarnessError
from harness.core.protocols import Tokenizer
from harness.core.specs import PromptingSpec
from harness.core.types import Message
from harness.prompting import Renderer

# Stands in for the prompt's words when the template is asked what it writes around them.
_MARK = "harnessjudgemark"
# What the composed ids are tried on: plain words, which a template may render in one go.
_PLAIN = 'Is this plain?\n"It is." It is.'
# A plain context in front of a continuation, so that tokenizers which add a blank before the first word do not.
_CONTEXT = "a\n"
# Where there is no template, the prompt ends in a word that a label follows after a blank.
_CUE = "\nVerdict:"


class JudgeRenderer:
    """Prompts and labels as one tokenizer writes them; a chat where the model has a template, plain text otherwise.

    Only what the template itself writes becomes control tokens: the rubric and every text of the data are encoded as
    text, in one piece with the plain words the template puts beside them, so that no token boundary moves.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        template = _around(tokenizer)
        self._is_chat = template is not None
        head, tail = template or ("", _CUE)
        self._head, self._before = _split_last(tokenizer, head) if self._is_chat else ("", "")
        self._after, self._tail = _split_first(tokenizer, tail) if self._is_chat else (tail, "")
        self._continues = False
        if self._is_chat:
            self._continues = self._learn_continuation()

    def prompt_ids(self, text: str) -> tuple[int, ...]:
        """The prompt; the next token is the label's first."""
        if not self._is_chat:
            return (*self._tokenizer.prefix_ids(), *self._tokenizer.encode(text + _CUE, special=False))
        return self._composed(text, self._continues)

    def label_ids(self, labels: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Each label as it continues a prompt, none the beginning of another: where one is, all carry the end token.

        HarnessError E-TOKENIZER where the tokenizer cannot tell two of them apart.
        """
        form = PromptingSpec(form="chat" if self._is_chat else "text")
        renderer = Renderer(self._tokenizer, form)
        lead = "" if self._is_chat else " "
        ended = [renderer.completion_ids(lead + label) for label in labels]
        found = tuple(ids[:-1] for ids in ended)
        if _one_begins_another(found):
            found = tuple(ended)
        if _one_begins_another(found):
            raise HarnessError(
                f"the judge model's tokenizer cannot tell the labels {', '.join(map(repr, labels))} apart",
                fix="judge with another model, or on a shorter scale",
                code="E-TOKENIZER",
            )
        return found

    def _composed(self, text: str, continues: bool) -> tuple[int, ...]:
        head = self._tokenizer.encode(self._head, special=True) if self._head else []
        tail = self._tokenizer.encode(self._tail, special=True) if self._tail else []
        return (*head, *self._text_ids(self._before + text + self._after, continues), *tail)

    def _text_ids(self, text: str, continues: bool) -> list[int]:
        if not continues:
            return self._tokenizer.encode(text, special=False)
        context = self._tokenizer.encode(_CONTEXT, special=False)
        return self._tokenizer.encode(_CONTEXT + text, special=False)[len(context) :]

    def _learn_continuation(self) -> bool:
        """Whether text behind a control token is encoded as a continuation: as the template's plain rendering has it.

        HarnessError E-TEMPLATE where neither way gives the ids of the plain rendering.
        """
        plain = self._tokenizer.apply_template([Message("user", _PLAIN)], add_generation_prompt=True)
        expected = tuple(self._tokenizer.encode(plain, special=True))
        for continues in (False, True):
            if self._composed(_PLAIN, continues) == expected:
                return continues
        raise HarnessError(
            "the chat template changes the words it is given, so a judge's prompt cannot be composed safely",
            fix="give the judge a template that writes the user's words as they are: model.template=FILE",
            code="E-TEMPLATE",
        )


def _around(tokenizer: Tokenizer) -> tuple[str, str] | None:
    """What the template writes before and after a user's words; None where the model has no template."""
    try:
        text = tokenizer.apply_template([Message("user", _MARK)], add_generation_prompt=True)
    except HarnessError as err:
        if err.code != "E-NOTEMPLATE":
            raise
        return None
    head, _, tail = text.partition(_MARK)
    if text.count(_MARK) != 1:
        raise HarnessError(
            f"the chat template writes the user's words {text.count(_MARK)} times",
            fix="give the judge a template that writes them once: model.template=FILE",
            code="E-TEMPLATE",
        )
    return head, tail


def _spellings(tokenizer: Tokenizer) -> list[str]:
    spelled = (tokenizer.decode([token], skip_special=False) for token in tokenizer.special_ids)
    return [spelling for spelling in spelled if spelling]


def _split_last(tokenizer: Tokenizer, text: str) -> tuple[str, str]:
    """The text up to and with its last control token, and the rest."""
    end = max((text.rfind(each) + len(each) for each in _spellings(tokenizer) if each in text), default=0)
    return text[:end], text[end:]


def _split_first(tokenizer: Tokenizer, text: str) -> tuple[str, str]:
    """The text before its first control token, and the rest."""
    start = min((text.find(each) for each in _spellings(tokenizer) if each in text), default=len(text))
    return text[:start], text[start:]


def _one_begins_another(labels: Sequence[tuple[int, ...]]) -> bool:
    pairs = ((a, b) for i, a in enumerate(labels) for j, b in enumerate(labels) if i != j)
    return any(b[: len(a)] == a for a, b in pairs)
