"""Which model to try first: the checklist's answers and the memory arithmetic become lines, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.advice.checklist import Answers, Level, Priority
from harness.advice.memory import CACHE_TOKENS, TRAIN_TOKENS, USABLE, Need, needs

# The size class, in billions, at which a task of a complexity is usually done well after tuning.
_WANTED: dict[Level, float] = {"low": 1.5, "medium": 8, "high": 14}
_STEP: dict[Priority, int] = {"cost": -1, "balance": 0, "quality": 1}
_ENOUGH_TO_TRY = 100
_ENOUGH_FOR_BASE = 20_000
_SHOTS = 4


@dataclass(frozen=True, slots=True)
class Line:
    """One recommendation. topic: the item of the checklist it answers."""

    topic: str
    advice: str
    reason: str


@dataclass(frozen=True, slots=True)
class Advice:
    """The recommendation, and the memory table it rests on."""

    answers: Answers
    lines: tuple[Line, ...]
    needs: tuple[Need, ...]


@dataclass(frozen=True, slots=True)
class _Case:
    """What all lines are drawn from. usable: GB. fits: classes whose LoRA fits, smallest first."""

    answers: Answers
    needs: tuple[Need, ...]
    usable: float
    fits: tuple[Need, ...]
    wanted: Need


def advise_model(answers: Answers) -> Advice:
    """Walk the checklist. Nothing in it depends on this year's models."""
    table = needs(answers.input_tokens + answers.output_tokens)
    usable = USABLE * answers.memory_gb
    fits = tuple(need for need in table if need.lora_least <= usable)
    case = _Case(answers, table, usable, fits, _wanted(answers, table))
    lines = (
        *_modality(case),
        *_freshness(case),
        *_prompting(case),
        *_context(case),
        *_size(case),
        *_variant(case),
        *_tuning(case),
        *_safety(case),
        *_arrangement(case),
        *_measuring(case),
    )
    return Advice(answers, lines, table)


def _wanted(answers: Answers, table: tuple[Need, ...]) -> Need:
    start = next(place for place, need in enumerate(table) if need.billions == _WANTED[answers.complexity])
    step = _STEP[answers.priority] + (1 if answers.safety == "high" and answers.priority != "quality" else 0)
    return table[min(max(start + step, 0), len(table) - 1)]


def _modality(case: _Case) -> Iterator[Line]:
    if case.answers.modality == "text":
        yield Line("modality", "a causal language model in safetensors", "text in and text out is what is tuned here")
    else:
        yield Line(
            "modality",
            f"turn the {case.answers.modality} into text first (transcript, description), or tune elsewhere",
            "this harness tunes and evaluates text only; a model that also sees or hears costs more in every step",
        )


def _freshness(case: _Case) -> Iterator[Line]:
    if case.answers.facts == "changing":
        yield Line(
            "data freshness",
            "give the facts in the prompt (retrieval or function calls); tune only how they are used",
            "tuning fixes what was true when the rows were written, and cannot be updated by editing a document",
        )
    else:
        yield Line("data freshness", "no retrieval needed for that", "the right answers stay right")


def _prompting(case: _Case) -> Iterator[Line]:
    if case.answers.rows < _ENOUGH_TO_TRY:
        yield Line(
            "prompting first",
            f"write a good prompt with 4 to 8 examples, and collect rows up to about {_ENOUGH_TO_TRY} before tuning",
            f"{case.answers.rows:,} rows are too few to tune on and too few to measure on",
        )
    else:
        yield Line(
            "prompting first",
            f"prompting.shots=0,{_SHOTS}: tuning must beat the best prompt, not the bare model",
            "examples cost nothing but tokens, and for easy tasks they are enough",
        )


def _context(case: _Case) -> Iterator[Line]:
    answers = case.answers
    one = answers.input_tokens + answers.output_tokens
    yield Line(
        "input and output size",
        f"a context of at least {_round_up(one):,} tokens, and {_round_up((_SHOTS + 1) * one):,} for {_SHOTS} examples",
        f"the longest prompt has about {answers.input_tokens:,} tokens and its answer {answers.output_tokens:,}",
    )


def _size(case: _Case) -> Iterator[Line]:
    answers = case.answers
    usable = f"{case.usable:.1f} GB of {answers.memory_gb:g} GB"
    if not case.fits:
        smallest = case.needs[0]
        yield Line(
            "size",
            "a model of well under 0.5B parameters, shorter prompts, or another device",
            f"LoRA of the smallest ({smallest.size}) needs {smallest.lora_least:.1f} GB or more; usable: {usable}",
        )
        return
    largest = case.fits[-1]
    chosen = case.wanted if case.wanted.billions <= largest.billions else largest
    first = case.fits[max(0, case.fits.index(chosen) - 2)]
    yield _first_try(answers, first, chosen, largest)
    limit = f", and the largest of them here is {largest.size}" if case.wanted is not chosen else ""
    yield Line(
        "task complexity",
        f"the class to end with: about {chosen.size}",
        f"complexity {answers.complexity}, priority {answers.priority}, safety {answers.safety} ask for about "
        f"{case.wanted.size}{limit}",
    )
    yield Line(
        "memory",
        f"{chosen.size} by LoRA: {chosen.lora:.1f} GB, or {chosen.lora_least:.1f} GB with a small "
        "trainer.tokens_per_batch and gradient checkpointing, which then comes on by itself; "
        f"in use {chosen.use:.1f} GB; full tuning {chosen.full:.1f} GB",
        f"usable: {usable}; 2 bytes a parameter, {TRAIN_TOKENS:,} tokens a step or the longest row, "
        f"{CACHE_TOKENS:,} tokens of cache",
    )


def _first_try(answers: Answers, first: Need, chosen: Need, largest: Need) -> Line:
    if answers.priority == "quality":
        return Line(
            "small or large first",
            f"start with the strongest that fits (about {largest.size}), then see how much smaller will do",
            "quality comes first: begin by finding out whether the task can be done at all",
        )
    if first.size == chosen.size:
        return Line("small or large first", f"start with about {first.size}", "nothing smaller is worth the trial")
    return Line(
        "small or large first",
        f"start with about {first.size}, then the next class, and stop at the one that no longer helps",
        "small models show mistakes in data and metric in minutes; their report says whether size is what is missing",
    )


def _variant(case: _Case) -> Iterator[Line]:
    if case.answers.rows >= _ENOUGH_FOR_BASE and case.answers.complexity == "low":
        yield Line(
            "base or instruct",
            "try the base variant too (prompting.form=text)",
            f"{case.answers.rows:,} rows of a simple task teach the format themselves, without a chat model's habits",
        )
    else:
        yield Line(
            "base or instruct",
            "the instruction-tuned variant",
            "it has a chat template and follows the prompt already, so that the rows need only teach the difference",
        )


def _tuning(case: _Case) -> Iterator[Line]:
    if case.answers.rows < _ENOUGH_TO_TRY or not case.fits:
        return
    yield Line(
        "trainer",
        "trainer=auto: LoRA with epochs, rate and rank by the size of the data",
        "an adapter of some megabytes; full tuning only where LoRA has been seen to fall short",
    )


def _safety(case: _Case) -> Iterator[Line]:
    if case.answers.safety == "low":
        return
    yield Line(
        "safety criticality",
        "mark the dangerous inputs with a field and name it in metrics.slices; people look at the chosen checkpoint",
        f"safety {case.answers.safety}: the mean over all rows hides the few that matter, and no metric sees all harm",
    )


def _arrangement(case: _Case) -> Iterator[Line]:
    answers, chosen = case.answers, case.wanted
    said = {
        "gpu": ("tune and evaluate on it", "nothing leaves the house, and repeated runs cost only time"),
        "cpu": (
            "stay at 0.5B or below and few tokens; or rent a GPU for the tuning alone",
            "a CPU is tens of times slower, whatever its memory",
        ),
        "cloud": (
            f"rent one device with {chosen.lora_least / USABLE:.0f} GB or more for the runs, in your data's region",
            f"what LoRA of {chosen.size} takes, and room for the rest",
        ),
        "api": (
            "see whether the contract lets you tune and keep the weights; if not, compare open weights first",
            "weights that you hold can be evaluated again later, byte for byte",
        ),
    }[answers.arrangement]
    yield Line("existing arrangements", *said)


def _measuring(case: _Case) -> Iterator[Line]:
    yield Line(
        "what to measure",
        "harness new task NAME --data FILE proposes the metric from your rows; set metrics.smallest_effect yourself",
        "whether a model is good enough is decided by the task's metric on your rows, not by a leaderboard",
    )
    yield Line(
        "what else it costs",
        "run task=general too (did it forget?), and compare prompt tokens and time in the report",
        "a tuned small model without examples is often cheaper in use than a large one with them",
    )


def _round_up(tokens: int) -> int:
    """The next power of two, as context lengths come."""
    return 1 << (tokens - 1).bit_length()
