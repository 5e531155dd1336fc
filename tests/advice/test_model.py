from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from harness.advice import QUESTIONS, Advice, Answers, advise_model, needs
from harness.advice.memory import SHAPES, cache_bytes_a_token, lora_parameters

EIGHT = next(shape for shape in SHAPES if shape.billions == 8)


def advice(**changes: object) -> Advice:
    answers: dict[str, object] = {
        "modality": "text",
        "complexity": "medium",
        "priority": "balance",
        "safety": "low",
        "facts": "stable",
        "arrangement": "gpu",
        "memory_gb": 80,
        "rows": 2_000,
        "input_tokens": 600,
        "output_tokens": 100,
        **changes,
    }
    return advise_model(Answers.model_validate(answers))


def said(found: Advice, topic: str) -> str:
    return next(line.advice for line in found.lines if line.topic == topic)


def test_an_adapter_of_rank_16_on_an_8b_model_has_the_published_number_of_parameters() -> None:
    # What peft's print_trainable_parameters says of Llama 3 8B, rank 16, all linear layers.
    assert lora_parameters(EIGHT) == 41_943_040


def test_the_cache_of_an_8b_model_takes_128_kib_a_token() -> None:
    # 32 layers x 8 heads x 128 numbers x 2 bytes, keys and values.
    assert cache_bytes_a_token(EIGHT) == 131_072


def test_memory_is_the_sum_of_its_terms() -> None:
    need = next(need for need in needs(1_000) if need.billions == 8)
    assert need.use == pytest.approx(16 + 131_072 * 16_384 / 1e9)
    # Weights, 16 bytes an adapter parameter, and for 4,096 tokens 34 x 4096 x 32 bytes and 2 x 4 x 150,000 of logits.
    assert need.lora == pytest.approx(16 + 0.67108864 + 4_096 * (4_456_448 + 1_200_000) / 1e9)
    # One layer (34 x 4096), the inputs of 32 (2 x 32 x 4096) and the logits, for 1,000 tokens.
    assert need.lora_least == pytest.approx(16 + 0.67108864 + 1_000 * (139_264 + 262_144 + 1_200_000) / 1e9)
    assert need.full == pytest.approx(need.lora - 0.67108864 + 128)


def test_larger_models_and_longer_rows_need_more() -> None:
    short, long = needs(500), needs(50_000)
    for name in ("use", "lora", "lora_least", "full"):
        sizes = [getattr(need, name) for need in short]
        assert sizes == sorted(sizes)
        assert all(getattr(more, name) >= getattr(less, name) for less, more in zip(short, long, strict=True))


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"complexity": "low"}, "1.5B"),
        ({"complexity": "medium"}, "8B"),
        ({"complexity": "high"}, "14B"),
        ({"complexity": "medium", "priority": "cost"}, "3B"),
        ({"complexity": "medium", "safety": "high"}, "14B"),
        ({"complexity": "high", "memory_gb": 24}, "8B"),
        ({"complexity": "high", "memory_gb": 8}, "1.5B"),
    ],
)
def test_the_size_follows_the_task_and_ends_where_memory_does(changes: dict[str, object], size: str) -> None:
    assert said(advice(**changes), "task complexity") == f"the class to end with: about {size}"


def test_what_is_recommended_fits_the_device() -> None:
    for memory in (6, 12, 24, 48, 80, 192):
        found = advice(memory_gb=memory, complexity="high", priority="quality")
        size = said(found, "task complexity").rpartition(" ")[2]
        assert next(need for need in found.needs if need.size == size).lora_least <= 0.9 * memory


def test_a_device_that_holds_no_class_is_told_so() -> None:
    assert said(advice(memory_gb=1), "size").startswith("a model of well under 0.5B parameters")


def test_small_first_unless_quality_comes_first() -> None:
    assert said(advice(), "small or large first").startswith("start with about 1.5B, then the next class")
    assert said(advice(priority="quality"), "small or large first").startswith("start with the strongest that fits")


def test_facts_that_change_belong_into_the_prompt() -> None:
    assert "retrieval" in said(advice(facts="changing"), "data freshness")


def test_too_few_rows_mean_prompting_and_no_trainer() -> None:
    found = advice(rows=40)
    assert "collect rows up to about 100" in said(found, "prompting first")
    assert "trainer" not in {line.topic for line in found.lines}
    assert said(advice(), "trainer").startswith("trainer=auto")


def test_the_context_holds_the_longest_row_and_four_examples() -> None:
    # 700 tokens: the next power of two is 1,024; five times 700 are 3,500: 4,096.
    expected = "a context of at least 1,024 tokens, and 4,096 for 4 examples"
    assert said(advice(), "input and output size") == expected


def test_what_cannot_be_tuned_here_is_said() -> None:
    assert "into text first" in said(advice(modality="audio"), "modality")


def test_every_item_of_the_checklist_has_a_line_with_a_reason() -> None:
    found = advice(safety="high")
    topics = {line.topic for line in found.lines}
    assert {
        "modality", "input and output size", "task complexity", "memory", "safety criticality",
        "existing arrangements", "data freshness", "base or instruct", "prompting first", "what to measure",
    } <= topics  # fmt: skip
    assert all(len(line.reason) > 15 for line in found.lines)


def test_no_model_is_named() -> None:
    # Product names carry a number right behind a name: Xyz-3, Xyz 2.5; sizes such as 8B do not.
    for memory in (4, 24, 192):
        text = " ".join(line.advice for line in advice(memory_gb=memory).lines)
        assert re.search(r"\b[A-Z][a-z]+[- ]?\d", text) is None


@pytest.mark.parametrize("wrong", [{"memory_gb": 0}, {"rows": -1}, {"complexity": "some"}, {"input_tokens": 0}])
def test_impossible_answers_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        advice(**wrong)


def test_every_question_has_its_flag_and_its_choices() -> None:
    flags = {question.flag: question.choices for question in QUESTIONS}
    assert flags["--memory-gb"] == ()
    assert flags["--complexity"] == ("low", "medium", "high")
