"""The one renderer: token ids for training and for every evaluation come from here and nowhere else.

The contract: the inference ids are a prefix of the training ids (a row is made from them), and the tokens that carry
loss decode to the completion followed by the end token (`Renderer.problem` checks every row).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from harness.core.errors import HarnessError
from harness.core.protocols import Tokenizer
from harness.core.specs import PromptingSpec
from harness.core.types import Message, Sample, TokenRow

# Stand in for a user's and an assistant's words when a template is asked how it writes a turn.
_USER_MARK = "harnessusermark"
_ANSWER_MARK = "harnessanswermark"
# A plain context in front of a continuation, so that tokenizers which add a blank before the first word do not.
_CONTEXT = "a\n"
_N_COMPLETIONS = 4096


@dataclass(frozen=True, slots=True)
class _TurnForm:
    """How a template writes an assistant turn: blanks before the answer, and the ids that end it."""

    lead: str
    end_ids: tuple[int, ...]
    skew: str | None = None


class Renderer:
    """Renders samples for one tokenizer and one way of prompting."""

    def __init__(self, tokenizer: Tokenizer, spec: PromptingSpec, *, train_on_all: bool = False) -> None:
        self._tokenizer = tokenizer
        self._spec = spec
        self._train_on_all = train_on_all
        # Few answers in many rows: labels, and each row's own, which is asked for thrice.
        self._completion = lru_cache(_N_COMPLETIONS)(self._rendered_completion)
        self._form = self._learn_turn_form() if spec.form == "chat" else _TurnForm("", self._eos())

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Token ids that end a completion: the template's end of turn and the tokenizer's end of text."""
        return tuple(dict.fromkeys((*self._form.end_ids[:1], *self._eos())))

    @property
    def end_id(self) -> int:
        """The token that training puts behind every completion."""
        return self._form.end_ids[0]

    @property
    def skew(self) -> str | None:
        """How the template's own assistant turns differ from what follows its generation prompt; None if they agree."""
        return self._form.skew

    def clean(self, text: str) -> str:
        """A completion without the blank that the template itself puts before an answer."""
        return text.removeprefix(self._form.lead)

    def prompt_text(self, sample: Sample, shots: Sequence[Sample] = ()) -> str:
        """The prompt as text, control tokens spelled out; for people."""
        return self._tokenizer.decode(self.prompt_ids(sample, shots), skip_special=False)

    def prompt_ids(self, sample: Sample, shots: Sequence[Sample] = ()) -> tuple[int, ...]:
        """What the model is given for this sample, in training and in every evaluation."""
        if self._spec.form == "text":
            return self._text_prompt(sample, shots)
        text = self._tokenizer.apply_template(self._conversation(sample, shots), add_generation_prompt=True)
        return tuple(self._tokenizer.encode(text, special=True))

    def completion_ids(self, text: str) -> tuple[int, ...]:
        """A completion as it continues a prompt, and its end token. Spelled-out control tokens stay text."""
        return self._completion(text)

    def train_row(self, sample: Sample) -> TokenRow:
        """The training row: prompt, first reference and end token; loss on the completion only."""
        prompt = self.prompt_ids(sample)
        completion = self.completion_ids(sample.references[0])
        loss = [False] * len(prompt)
        if self._train_on_all:
            for start, stop in self._earlier_answers(sample, prompt):
                loss[start:stop] = [True] * (stop - start)
        return TokenRow(sample.id, (*prompt, *completion), (*loss, *[True] * len(completion)))

    def problem(self, sample: Sample, row: TokenRow) -> str | None:
        """Why this row, as rendered, cannot be trained as it will be asked; None when the contract holds."""
        if self._spec.form == "text" and len(self._turns(sample)) > 1:
            return "several turns need a chat template; prompting.form=text has room for one"
        n_prompt = len(row.ids) - len(self.completion_ids(sample.references[0]))
        bos = self._tokenizer.bos_id
        if bos is not None and bos != self._tokenizer.eos_id and bos in row.ids[1:n_prompt]:
            return "the rendered prompt holds a second beginning-of-text token"
        if row.ids[-1] != self.end_id or not row.loss[-1]:
            return "the end token carries no loss"
        whole = self._tokenizer.decode(row.ids[:-1], skip_special=False)
        prompt = self._tokenizer.decode(row.ids[:n_prompt], skip_special=False)
        found, expected = whole.removeprefix(prompt), self._form.lead + sample.references[0]
        if not whole.startswith(prompt) or found.strip() != expected.strip():
            return f"the completion decodes to {found[:60]!r}, not to {expected[:60]!r}"
        return None

    def _conversation(self, sample: Sample, shots: Sequence[Sample]) -> list[Message]:
        system = next((m.content for m in sample.messages if m.role == "system"), self._spec.system)
        turns = [turn for shot in shots for turn in (*self._turns(shot), Message("assistant", shot.references[0]))]
        turns.extend(self._turns(sample))
        if system is None:
            return turns
        if self._spec.system_role == "user":
            return [Message("user", f"{system}\n\n{turns[0].content}"), *turns[1:]]
        return [Message("system", system), *turns]

    def _turns(self, sample: Sample) -> list[Message]:
        turns = [message for message in sample.messages if message.role != "system"]
        if self._spec.instruction is not None:
            turns[-1] = Message("user", f"{self._spec.instruction}\n\n{turns[-1].content}")
        return turns

    def _text_prompt(self, sample: Sample, shots: Sequence[Sample]) -> tuple[int, ...]:
        system = next((m.content for m in sample.messages if m.role == "system"), self._spec.system)
        parts = [] if system is None else [system]
        parts += ["".join(turn.content for turn in self._turns(shot)) + shot.references[0] for shot in shots]
        parts.append("".join(turn.content for turn in self._turns(sample)))
        text = self._spec.shot_separator.join(parts)
        return (*self._tokenizer.prefix_ids(), *self._tokenizer.encode(text, special=False))

    def _rendered_completion(self, text: str) -> tuple[int, ...]:
        return (*self._continuation(self._form.lead + text), self.end_id)

    def _continuation(self, text: str) -> list[int]:
        """Ids of `text` behind other text: SentencePiece tokenizers otherwise put a blank before its first word."""
        context = self._context
        whole = self._tokenizer.encode(_CONTEXT + text, special=False)
        if whole[: len(context)] == context:
            return whole[len(context) :]
        return self._tokenizer.encode(text, special=False)

    @cached_property
    def _context(self) -> list[int]:
        return self._tokenizer.encode(_CONTEXT, special=False)

    def _earlier_answers(self, sample: Sample, prompt: tuple[int, ...]) -> list[tuple[int, int]]:
        """Token spans of earlier assistant turns, each from its generation prompt to the end of its turn."""
        conversation = self._conversation(sample, ())
        spans = []
        for index, message in enumerate(conversation):
            if message.role != "assistant":
                continue
            before = self._template_ids(conversation[:index])
            stop = next((i for i in range(len(before), len(prompt)) if prompt[i] == self.end_id), len(before))
            written = self._tokenizer.decode(prompt[len(before) : stop], skip_special=False)
            if prompt[: len(before)] != before or written.strip() != message.content.strip():
                raise HarnessError(
                    f"the chat template rewrites earlier turns, so the loss of turn {index} cannot be placed",
                    fix='set data.train_on = "last"',
                    code="E-MASK",
                )
            spans.append((len(before), stop + 1))
        return spans

    def _template_ids(self, messages: Sequence[Message]) -> tuple[int, ...]:
        text = self._tokenizer.apply_template(messages, add_generation_prompt=True)
        return tuple(self._tokenizer.encode(text, special=True))

    def _learn_turn_form(self) -> _TurnForm:
        """Ask the template to write one turn of marks, and read off what it puts around the answer."""
        user = [Message("user", _USER_MARK)]
        prompt = self._tokenizer.apply_template(user, add_generation_prompt=True)
        answer = [*user, Message("assistant", _ANSWER_MARK)]
        whole = self._tokenizer.apply_template(answer, add_generation_prompt=False)
        head, found, tail = whole.rpartition(_ANSWER_MARK)
        if not found:
            raise HarnessError(
                "the chat template leaves the assistant's words out",
                fix="give a template that writes assistant turns: model.template=FILE",
                code="E-MASK",
            )
        gap = head.removeprefix(prompt) if head.startswith(prompt) else ""
        skew = None
        if gap.strip() or not head.startswith(prompt):
            written = gap or head[-60:]
            skew = f"the template's generation prompt ends in {prompt[-60:]!r}, its own turns have {written!r} there"
        special = self._tokenizer.special_ids
        ends = [token for token in self._tokenizer.encode(tail, special=True) if token in special]
        return _TurnForm(gap if not gap.strip() else "", (*ends[:1], *self._eos()), skew)

    def _eos(self) -> tuple[int, ...]:
        eos = self._tokenizer.eos_id
        if eos is None:
            raise HarnessError(
                "the tokenizer names no end-of-text token, so a completion could never end",
                fix="set eos_token in the model folder's tokenizer_config.json",
                code="E-NOEOS",
            )
        return (eos,)
