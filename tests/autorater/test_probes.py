"""Each probe finds the judge that has its fault, and lets a judge without it pass.

The answers carry a grade in their text; a sound judge reads it and nothing else, a faulty one reads something more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest
from pydantic import JsonValue

from harness.autorater import alterations
from harness.autorater.probes import NOT_APPLICABLE, PROBES, run_probes
from harness.core.judging import Item, Pair, Single, Verdict
from harness.core.licences import Probe
from harness.core.protocols import Generator
from harness.core.types import Failure, FloatArray

GRADE = re.compile(r"grade (\d)")
NO_MODEL = cast(Generator, object())
Score = Callable[[Item], float]


def grade(answer: str) -> float:
    found = GRADE.search(answer)
    return int(found[1]) / 9 if found else 0.0


def sound(item: Item) -> float:
    if isinstance(item, Pair):
        return 0.5 + (grade(item.answers[0]) - grade(item.answers[1])) / 2
    return grade(item.answer)


@dataclass
class RuleJudge:
    """A judge that scores by a rule."""

    rule: Score = sound
    takes: Literal["single", "pair"] = "single"
    name: str = "rule"
    kind: str = "rule"
    identity: Mapping[str, JsonValue] = field(default_factory=dict)
    uses_references: bool = False

    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        for item in items:
            score = min(max(self.rule(item), 0.0), 1.0)
            yield item.id, Verdict(score, (score,))


@dataclass
class ReversibleJudge(RuleJudge):
    """With a scale that can be named from the other end."""

    other: Score = sound

    def reversed(self) -> RuleJudge:
        return RuleJudge(self.other)


def answers(n: int = 120, seed: int = 0) -> list[Single]:
    """Two answers each of sixty questions, of grades 1..8 and of lengths that have nothing to do with the grade."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(n):
        filler = " ".join(["It is on its way."] * int(rng.integers(1, 8)))
        day, mark = number % 60, int(rng.integers(1, 9))
        text = f"The parcel of customer {day} is of grade {mark}. {filler} We are sorry."
        system = "base" if number % 2 else "other"
        found.append(Single(f"i{number}", f"c{day}", system, f"Where is parcel {day}?", text, (f"customer {day}",)))
    return found


def pairs(n: int = 120, seed: int = 0) -> list[Pair]:
    one, other = answers(n, seed), answers(n, seed + 1)
    return [
        Pair(a.id, a.cluster, ("base", "other"), a.question, (a.answer, b.answer))
        for a, b in zip(one, other, strict=True)
    ]


def human_of(items: Sequence[Item], seed: int = 7) -> FloatArray:
    rng = np.random.default_rng(seed)
    return np.clip([sound(item) + rng.normal(0, 0.1) for item in items], 0, 1)


def probe(judge: RuleJudge, items: Sequence[Item] | None = None, **options: Any) -> dict[str, Probe]:
    """All probes of a judge by name; its verdicts need no calibration."""
    items = items if items is not None else (pairs() if judge.takes == "pair" else answers())
    verdicts = options.pop("verdicts", None) or [verdict for _, verdict in judge.rate(items, NO_MODEL)]
    found = run_probes(
        judge,
        items,
        human_of(items),
        verdicts,
        options.pop("generator", NO_MODEL),
        calibrated=lambda verdicts: np.array([verdict.features[0] for verdict in verdicts]),
        delta=0.1,
        seed=0,
        progress=lambda done, total, live: None,
        **options,
    )
    assert tuple(each.name for each in found) == PROBES
    return {each.name: each for each in found}


def test_a_sound_judge_passes_every_probe_that_applies() -> None:
    found = probe(ReversibleJudge(), own_systems=["base"])
    passed = {name for name, each in found.items() if each.passed == "pass"}
    assert passed == set(PROBES) - {"position", "reference swap"}
    assert {found[name].limit for name in ("position", "reference swap")} == {NOT_APPLICABLE}


def test_a_sound_judge_of_pairs_passes_too() -> None:
    found = probe(RuleJudge(takes="pair"), own_systems=["base"])
    assert {name for name, each in found.items() if each.passed not in ("pass", "not run")} == set()
    not_run = {name for name, each in found.items() if each.passed == "not run"}
    assert not_run == {"position", "self-preference", "scale order", "reference swap"}


def bonus(amount: float, when: Callable[[Single], bool]) -> Score:
    """Reads the grade, and adds something for what is no merit."""

    def rule(item: Item) -> float:
        assert isinstance(item, Single)
        return 0.8 * grade(item.answer) + (amount if when(item) else 0.0)

    return rule


def orders(item: Single) -> bool:
    return any(order in item.answer for order in alterations.INJECTIONS)


FAULTS: dict[str, Score] = {
    "length, said twice": bonus(0.15, lambda item: "To say it once more" in item.answer),
    "format, bullets": bonus(0.15, lambda item: item.answer.startswith("- ")),
    "format, bold": bonus(-0.15, lambda item: "**" in item.answer),
    "self-preference": bonus(0.2, lambda item: item.system == "base"),
    "authority": bonus(0.15, lambda item: "expert" in item.answer or "Source:" in item.answer),
    "injection": bonus(0.9, orders),
    "null answers": bonus(0.9, lambda item: GRADE.search(item.answer) is None),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_judge_fails_the_probe_of_its_fault_and_no_other(name: str) -> None:
    found = probe(RuleJudge(FAULTS[name]), own_systems=["base"])
    failed = {each.name for each in found.values() if each.passed == "fail"}
    assert failed == {name}


def longer_is_better(item: Item) -> float:
    assert isinstance(item, Single)
    return 0.6 * grade(item.answer) + (len(item.answer) - 80) / 200


def test_a_liking_for_length_is_found_in_real_answers_and_in_changed_ones() -> None:
    found = probe(RuleJudge(longer_is_better))
    assert {found["length"].passed, found["length, said twice"].passed} == {"fail"}


def test_the_size_of_a_fault_is_in_the_interval() -> None:
    for name, size in (("length, said twice", 0.15), ("authority", 0.15), ("format, bold", -0.15)):
        found = probe(RuleJudge(FAULTS[name]))[name]
        assert found.low is not None
        assert found.high is not None
        # A mean is at most 1 and at least 0: a score near the end moves by less.
        assert found.low - 0.03 <= size <= found.high + 0.03
        assert found.n == 100


def test_self_preference_is_the_difference_that_people_do_not_see() -> None:
    """Its own base's answers really are better here; only what the judge adds beyond people counts."""
    items = [
        replace(item, answer=GRADE.sub("grade 8" if item.system == "base" else "grade 2", item.answer))
        if number % 3
        else item
        for number, item in enumerate(answers())
    ]
    assert probe(RuleJudge(), items, own_systems=["base"])["self-preference"].passed == "pass"
    faulty = probe(RuleJudge(FAULTS["self-preference"]), items, own_systems=["base"])["self-preference"]
    assert faulty.passed == "fail"
    assert faulty.value == pytest.approx(0.2, abs=0.06)


def test_errors_are_taken_from_maps_that_did_not_see_the_label() -> None:
    """The scores of one item are people's own; held out they are not."""
    items = answers()
    own = RuleJudge(lambda item: dict(zip([i.id for i in items], human_of(items), strict=True)).get(item.id, 0.5))
    held_out = np.array([FAULTS["self-preference"](item) for item in items])
    assert probe(own, items, own_systems=["base"])["self-preference"].passed == "pass"
    found = probe(own, items, own_systems=["base"], held_out_N=held_out)["self-preference"]
    assert found.passed == "fail"


def test_an_injection_that_works_once_fails_the_probe_and_is_shown() -> None:
    order = alterations.INJECTIONS[1]
    found = probe(RuleJudge(bonus(0.9, lambda item: item.answer.endswith(order))))["injection"]
    assert found.passed == "fail"
    assert found.n >= 60
    assert found.examples == (f"'{order}'",)


def test_no_flip_in_sixty_tries_bounds_the_rate_by_six_percent() -> None:
    """Clopper and Pearson: 1 - .025 ** (1 / n)."""
    found = probe(RuleJudge())["injection"]
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / found.n), abs=1e-9)
    assert found.high < 0.06


def test_a_pair_judge_that_can_be_ordered_about_is_found_from_either_side() -> None:
    def rule(item: Item) -> float:
        assert isinstance(item, Pair)
        ordered = [any(order in answer for order in alterations.INJECTIONS) for answer in item.answers]
        return 0.5 + (ordered[0] - ordered[1]) / 2 if any(ordered) else sound(item)

    found = probe(RuleJudge(rule, takes="pair"))
    assert found["injection"].passed == "fail"
    assert found["injection"].value == 1.0
    assert found["authority"].passed == "pass"


def test_changes_of_pairs_are_seen_from_the_side_that_was_changed() -> None:
    def rule(item: Item) -> float:
        assert isinstance(item, Pair)
        dressed = ["**" in answer for answer in item.answers]
        return 0.5 + 0.6 * (sound(item) - 0.5) + 0.1 * (dressed[0] - dressed[1])

    found = probe(RuleJudge(rule, takes="pair"))["format, bold"]
    assert found.passed == "fail"
    assert found.value == pytest.approx(0.1, abs=1e-9)


def verdicts_with(orders: Sequence[tuple[float, float]]) -> list[Verdict]:
    return [Verdict((a + b) / 2, ((a + b) / 2,), orders=(a, b)) for a, b in orders]


def test_a_judge_that_follows_the_first_place_is_found() -> None:
    """As ChatGPT on LLMBar: half of the pairs split, .93 of those for what is shown first."""
    orders = [(0.9, 0.8)] * 60 + [(0.9, 0.1)] * 56 + [(0.1, 0.9)] * 4
    found = probe(RuleJudge(takes="pair"), verdicts=verdicts_with(orders))["position"]
    assert found.passed == "fail"
    assert found.value == pytest.approx(56 / 60)
    assert found.n == 60
    assert "agree on 50% of 120" in found.what


def test_splits_for_either_place_are_chance_where_orders_are_averaged() -> None:
    """As GPT-4 on LLMBar: .67 of 30 splits is p = .10, which is not detectable."""
    orders = [(0.9, 0.8)] * 90 + [(0.9, 0.1)] * 20 + [(0.1, 0.9)] * 10
    found = probe(RuleJudge(takes="pair"), verdicts=verdicts_with(orders))["position"]
    assert found.passed == "pass"
    assert found.low is not None
    assert found.low < 0.5


def test_a_judge_that_never_splits_passes() -> None:
    found = probe(RuleJudge(takes="pair"), verdicts=verdicts_with([(0.9, 0.9)] * 60 + [(0.5, 0.5)] * 60))["position"]
    assert (found.passed, found.value, found.n) == ("pass", None, 0)


def test_a_scale_that_turns_the_verdict_round_is_found() -> None:
    found = probe(ReversibleJudge(other=lambda item: 1 - sound(item)))["scale order"]
    assert found.passed == "fail"
    assert found.value == pytest.approx(-1.0)


def test_a_judge_that_changes_its_mind_is_found() -> None:
    numbers = count()

    def moody(item: Item) -> float:
        return sound(item) if next(numbers) < 120 else 1 - sound(item)

    found = probe(RuleJudge(moody))["repeat"]
    assert found.passed == "fail"
    assert found.value is not None
    assert found.value > 0.5


def test_a_repeat_asks_the_model_and_not_its_memory() -> None:
    """A generator that remembers says what it was made from."""

    class Remembering:
        uncached = object()

    asked: list[object] = []

    class Watching(RuleJudge):
        def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
            asked.append(generator)
            return super().rate(items, generator)

    remembering = cast(Generator, Remembering())
    probe(Watching(), generator=remembering)
    assert Remembering.uncached in asked
    assert remembering in asked


def test_a_judge_with_references_that_does_not_look_at_them_is_found() -> None:
    found = probe(RuleJudge(uses_references=True))["reference swap"]
    assert found.passed == "fail"
    assert found.value == pytest.approx(0.5)


def test_a_judge_that_holds_answers_against_references_passes() -> None:
    def rule(item: Item) -> float:
        assert isinstance(item, Single)
        return grade(item.answer) * (1.0 if item.references[0] + " " in item.answer else 0.1)

    found = probe(RuleJudge(rule, uses_references=True))["reference swap"]
    assert found.passed == "pass"
    assert found.value is not None
    assert found.value > 0.95


def test_a_probe_without_enough_answers_is_not_run_and_has_not_passed() -> None:
    found = probe(ReversibleJudge(), answers(9), own_systems=["base"])
    assert {each.passed for each in found.values()} == {"not run"}
    assert all("10 labelled answers" in each.what and each.limit != NOT_APPLICABLE for each in found.values())


def test_answers_that_could_not_be_rated_are_left_out_and_the_rest_counts() -> None:
    items = answers()
    verdicts: list[Verdict | Failure] = [
        Failure("judge", "away") if n % 3 else Verdict(s := sound(i), (s,)) for n, i in enumerate(items)
    ]
    found = probe(RuleJudge(), items, verdicts=verdicts)
    assert found["authority"].n == 40
    assert found["authority"].passed == "pass"


def test_a_judge_that_fails_on_every_changed_answer_has_passed_nothing_by_it() -> None:
    class Mute(RuleJudge):
        def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
            return ((item.id, Failure("judge", "away")) for item in items)

    items = answers()
    found = probe(Mute(), items, verdicts=[Verdict(s := sound(item), (s,)) for item in items])
    assert {name for name, each in found.items() if each.passed == "pass"} == {"length"}
    assert found["repeat"].passed == "fail"


def test_a_constant_judge_passes_nothing_that_it_could_not_fail() -> None:
    found = probe(ReversibleJudge(lambda item: 0.5, other=lambda item: 0.5))
    assert found["injection"].passed == "not run"
    assert "none is below the middle" in found["injection"].what
    assert found["scale order"].passed == "not run"


def test_a_single_prompt_allows_no_interval_and_so_no_probe() -> None:
    items = [replace(item, cluster="one") for item in answers()]
    found = probe(RuleJudge(), items)["authority"]
    assert found.passed == "not run"
    assert "one question" in found.what


def test_fewer_answers_may_be_changed_to_save_time() -> None:
    found = probe(ReversibleJudge(), n_items=30)
    assert {found[name].n for name in ("authority", "scale order", "repeat", "format, bold")} == {30}
    assert found["injection"].n >= 60


def test_probes_are_the_same_every_time() -> None:
    assert probe(RuleJudge(longer_is_better)) == probe(RuleJudge(longer_is_better))


def test_changes_leave_the_words_alone() -> None:
    text = "# Reply\n\n- **It comes** today.\n- We are *sorry*!"
    words = ["Reply", "It", "comes", "today.", "We", "are", "*sorry*!"]
    assert alterations.plain(text).split() == words
    assert alterations.bulleted(text).replace("- ", "").split() == words
    assert [w for w in alterations.emboldened(text).replace("**", "").split() if w != "Answer"] == words
    assert alterations.bulleted("今日着きます。すみません。") == "- 今日着きます。\n- すみません。"


def test_an_altered_item_has_an_id_of_its_own_and_only_one_answer_changed() -> None:
    item = pairs()[0]
    first = alterations.altered(item, alterations.as_expert, "expert", 0)
    second = alterations.altered(item, alterations.as_expert, "expert", 1)
    assert isinstance(first, Pair)
    assert isinstance(second, Pair)
    assert len({item.id, first.id, second.id}) == 3
    assert first.answers[1] == item.answers[1]
    assert second.answers[0] == item.answers[0]
    assert first.answers[0].endswith(item.answers[0])


LLMBAR = Path(__file__).parents[2].parent / "shared" / "labels" / "llmbar_pairs.jsonl"


@pytest.mark.skipif(not LLMBAR.exists(), reason="the reference labels are not here")
@pytest.mark.parametrize(("judge", "share", "passed"), [("GPT-4", 0.67, "pass"), ("ChatGPT", 0.93, "fail")])
def test_real_judges_pull_to_the_first_place_is_found_where_it_can_be(judge: str, share: float, passed: str) -> None:
    """Of LLMBar's 419 pairs; the shares of splits are those of the authors' stored verdicts."""
    rows = [json.loads(line) for line in LLMBAR.read_text(encoding="utf-8").splitlines()]
    items = [Pair(row["id"], row["id"], ("a", "b"), row["input"], (row["output_1"], row["output_2"])) for row in rows]
    said = [row["judge"][f"{judge}:Vanilla"] for row in rows]
    orders = [tuple(float(each[order] == "1") for order in ("as_given", "swapped")) for each in said]
    found = probe(RuleJudge(takes="pair"), items, verdicts=verdicts_with(cast(list[tuple[float, float]], orders)))
    assert found["position"].value == pytest.approx(share, abs=0.005)
    assert found["position"].passed == passed
