"""The renderer over the fake tokenizer; tests/models runs it over real tokenizers and templates."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.backends.fake import FakeTokenizer
from harness.core.specs import PromptingSpec
from harness.core.types import Message, Sample
from harness.prompting import Renderer

TOKENIZER = FakeTokenizer()


def sample(*turns: tuple[str, str], reference: str = "fine") -> Sample:
    return Sample("s", "train", tuple(Message(role, text) for role, text in turns), (reference,))  # type: ignore[arg-type]


def text_of(ids: tuple[int, ...]) -> str:
    return TOKENIZER.decode(ids, skip_special=False)


def test_the_inference_ids_are_a_prefix_of_the_training_ids() -> None:
    renderer = Renderer(TOKENIZER, PromptingSpec(system="Be brief."))
    asked = sample(("user", "how are you"))
    row = renderer.train_row(asked)
    prompt = renderer.prompt_ids(asked)
    assert row.ids[: len(prompt)] == prompt
    assert not any(row.loss[: len(prompt)])
    assert text_of(tuple(i for i, on in zip(row.ids, row.loss, strict=True) if on)) == "fine<|end|>"


def test_a_rows_own_system_instruction_wins() -> None:
    renderer = Renderer(TOKENIZER, PromptingSpec(system="task"))
    assert "<|system|>row<|end|>" in text_of(renderer.prompt_ids(sample(("system", "row"), ("user", "x"))))
    assert "<|system|>task<|end|>" in text_of(renderer.prompt_ids(sample(("user", "x"))))


def test_system_can_be_folded_into_the_first_user_turn() -> None:
    renderer = Renderer(TOKENIZER, PromptingSpec(system="Be brief.", system_role="user"))
    assert text_of(renderer.prompt_ids(sample(("user", "x")))) == "<|user|>Be brief.\n\nx<|end|><|assistant|>"


def test_an_instruction_stands_before_the_last_user_turn_of_sample_and_shots() -> None:
    renderer = Renderer(TOKENIZER, PromptingSpec(instruction="Classify:"))
    text = text_of(renderer.prompt_ids(sample(("user", "x")), [sample(("user", "y"), reference="no")]))
    assert text == "<|user|>Classify:\n\ny<|end|><|assistant|>no<|end|><|user|>Classify:\n\nx<|end|><|assistant|>"


def test_loss_on_every_assistant_turn_covers_each_answer_and_its_end() -> None:
    renderer = Renderer(TOKENIZER, PromptingSpec(), train_on_all=True)
    row = renderer.train_row(sample(("user", "a"), ("assistant", "first"), ("user", "b"), reference="second"))
    assert text_of(tuple(i for i, on in zip(row.ids, row.loss, strict=True) if on)) == "first<|end|>second<|end|>"
    last = Renderer(TOKENIZER, PromptingSpec()).train_row(
        sample(("user", "a"), ("assistant", "first"), ("user", "b"), reference="second")
    )
    assert text_of(tuple(i for i, on in zip(last.ids, last.loss, strict=True) if on)) == "second<|end|>"


def test_plain_text_prompts_have_no_template() -> None:
    renderer = Renderer(TOKENIZER, PromptingSpec(form="text"))
    shots = [sample(("user", "2+2="), reference="4")]
    assert text_of(renderer.prompt_ids(sample(("user", "3+3=")), shots)) == "2+2=4\n\n3+3="
    assert text_of(renderer.train_row(sample(("user", "3+3="), reference="6")).ids) == "3+3=6<|end|>"


@given(prompt=st.text(min_size=1), reference=st.text(min_size=1))
def test_what_is_trained_is_what_is_asked_for_any_text(prompt: str, reference: str) -> None:
    for form in ("chat", "text"):
        renderer = Renderer(TOKENIZER, PromptingSpec(form=form))
        asked = sample(("user", prompt), reference=reference)
        row = renderer.train_row(asked)
        assert renderer.problem(asked, row) is None
        assert row.ids[: len(renderer.prompt_ids(asked))] == renderer.prompt_ids(asked)


class _NoEndTemplate(FakeTokenizer):
    def apply_template(self, messages, *, add_generation_prompt):  # type: ignore[no-untyped-def]
        return "".join(f"{m.role}: {m.content}\n" for m in messages) + ("assistant: " if add_generation_prompt else "")


def test_a_template_without_end_of_turn_still_trains_the_end_of_text() -> None:
    renderer = Renderer(_NoEndTemplate(), PromptingSpec())
    assert renderer.train_row(sample(("user", "x"))).ids[-1] == TOKENIZER.eos_id
    assert renderer.stop_ids == (TOKENIZER.eos_id,)


class _LeadingBlank(FakeTokenizer):
    """Writes a blank before each answer, as Llama 2's template does."""

    def apply_template(self, messages, *, add_generation_prompt):  # type: ignore[no-untyped-def]
        return "".join(f"[INST] {m.content} [/INST]" if m.role == "user" else f" {m.content}<|end|>" for m in messages)


def test_the_blank_a_template_puts_before_answers_is_trained_and_taken_off_completions() -> None:
    renderer = Renderer(_LeadingBlank(), PromptingSpec())
    row = renderer.train_row(sample(("user", "x")))
    assert text_of(row.ids) == "[INST] x [/INST] fine<|end|>"
    assert renderer.clean(" fine") == "fine"
    assert renderer.problem(sample(("user", "x")), row) is None


class _ForgetsAnswers(FakeTokenizer):
    def apply_template(self, messages, *, add_generation_prompt):  # type: ignore[no-untyped-def]
        return "".join(m.content for m in messages if m.role == "user")


def test_a_template_that_drops_the_assistant_is_refused() -> None:
    with pytest.raises(Exception, match="leaves the assistant's words out"):
        Renderer(_ForgetsAnswers(), PromptingSpec())


def test_a_row_that_breaks_the_contract_is_named() -> None:
    renderer = Renderer(TOKENIZER, PromptingSpec())
    asked = sample(("user", "x"), reference="right")
    row = renderer.train_row(asked)
    wrong = renderer.train_row(sample(("user", "x"), reference="wrong"))
    assert "decodes to 'wrong', not to 'right'" in str(renderer.problem(asked, wrong))
    assert "end token" in str(renderer.problem(asked, replace(row, ids=(*row.ids[:-1], 65))))
    assert "end token" in str(renderer.problem(asked, replace(row, loss=(*row.loss[:-1], False))))


def test_several_turns_without_a_template_are_refused() -> None:
    renderer = Renderer(TOKENIZER, PromptingSpec(form="text"))
    asked = sample(("user", "a"), ("assistant", "b"), ("user", "c"))
    assert "several turns" in str(renderer.problem(asked, renderer.train_row(asked)))


class _ThinksFirst(FakeTokenizer):
    def apply_template(self, messages, *, add_generation_prompt):  # type: ignore[no-untyped-def]
        turns = "".join(f"<|{m.role}|>{'<think>' * (m.role == 'assistant')}{m.content}<|end|>" for m in messages)
        return turns + ("<|assistant|>" if add_generation_prompt else "")


def test_a_template_that_writes_turns_unlike_its_generation_prompt_is_noticed() -> None:
    assert "'<think>'" in str(Renderer(_ThinksFirst(), PromptingSpec()).skew)
    assert Renderer(TOKENIZER, PromptingSpec()).skew is None
