"""Labels that go where they help most: the claim stays unbiased, covers, and is shorter than with as many at random."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from harness.autorater.estimates import TestSample, validate
from harness.core.judging import Label, Single, text_hash
from harness.core.licences import Corrected
from harness.labelling.sheet import Earlier, Sheet, draw, labels_for
from harness.pipeline.parts import parted, spreads, weighed, win_score

SIDES = ("tuned", "base")
N = 400
ITEMS: Mapping[str, Sequence[Single]] = {
    side: [
        Single(text_hash(f"q{at}", f"{side} {at}"), text_hash(f"q{at}"), side, f"q{at}", f"{side} {at}")
        for at in range(N)
    ]
    for side in SIDES
}
SAMPLE_OF = {item.id: f"s{item.question[1:]}" for items in ITEMS.values() for item in items}
# By people, in ninths: of the last fifth by the judge's score three prompts of four are four up, the fourth four down;
# of the others every second one is one up.
TRUTH = 0.2 * 2 / 9 + 0.8 * 0.5 / 9


class World:
    """Test prompts: what people would say of both answers to each, and what the judge says."""

    def __init__(self, rng: np.random.Generator) -> None:
        level = rng.permutation(np.linspace(0, 1, N))
        chance = rng.random(N)
        self.gap = np.where(level > 0.8, np.where(chance < 0.75, 4, -4), (chance < 0.5).astype(int))
        judged = level + 0.02 * self.gap + 0.1 * rng.normal(size=N)
        self.said = {f"s{at}": (float(judged[at]), float(2 * level[at] - judged[at])) for at in range(N)}
        bare = [
            TestSample(f"s{at}", text_hash(f"q{at}"), (f"tuned {at}", f"base {at}"), self.said[f"s{at}"])
            for at in range(N)
        ]
        self.samples = parted(bare, self.said, pairs=False)
        self.scores = {
            item.id: self.said[f"s{at}"][place]
            for place, side in enumerate(SIDES)
            for at, item in enumerate(ITEMS[side])
        }

    def sheet(self, n: int, seed: int, labels: Sequence[Label] = (), *, by_spread: bool = True) -> Sheet:
        earlier = Earlier(frozenset(label.item for label in labels))
        if by_spread:
            found = spreads(labels, self.samples, SIDES)
            earlier = replace(earlier, spreads=found.by_part, n_labels=found.n_labels)
        return draw(
            ITEMS,
            n=n,
            seed=seed,
            kind="likert",
            criterion="tone",
            scale=10,
            round="final",
            split="test",
            scores=self.scores,
            samples=SAMPLE_OF,
            earlier=earlier,
        )

    def labels(self, sheet: Sheet) -> list[Label]:
        found: list[Label] = []
        for each in sheet.items:
            assert isinstance(each.item, Single)
            value = 5 + (int(self.gap[int(each.item.question[1:])]) if each.item.system == "tuned" else 0)
            found += labels_for(sheet, each, value, annotator="ann", id=f"{each.id}.0", guideline="")
        return found


def claim(labels: Sequence[Label], samples: Sequence[TestSample]) -> Corrected:
    found = validate(labels, samples, candidate=SIDES[0], baseline=SIDES[1], criterion="tone", smallest_effect=0.02)
    return found.difference


def without_parts(samples: Sequence[TestSample]) -> list[TestSample]:
    return [replace(sample, stratum="") for sample in samples]


def prompts_by_part(sheet: Sheet) -> list[int]:
    """Lowest scores first."""
    counts = Counter(each.stratum.partition(", ")[2] for each in sheet.items)
    return [counts[f"part {part} of 5 by the judge's score"] // 2 for part in range(1, 6)]


def test_the_second_batch_goes_where_labels_vary_most_and_takes_nothing_twice() -> None:
    world = World(np.random.default_rng(5))
    first = world.sheet(160, 0)
    assert prompts_by_part(first) == [16] * 5
    assert first.allocation == (
        "prompts by the judge's score, lowest first: 16, 16, 16, 16 and 16, allocated in proportion"
    )
    second = world.sheet(100, 1, world.labels(first))
    counts = prompts_by_part(second)
    assert sum(counts) == 50
    assert counts[4] > 2 * max(counts[:4])
    shown = f"{', '.join(map(str, counts[:4]))} and {counts[4]}"
    assert second.allocation == (
        f"prompts by the judge's score, lowest first: {shown}, allocated by the spread of 160 labels"
    )
    assert not {each.item.id for each in first.items} & {each.item.id for each in second.items}


def test_labels_that_tell_nothing_yet_are_followed_by_others_in_proportion() -> None:
    world = World(np.random.default_rng(5))
    second = world.sheet(60, 1, world.labels(world.sheet(40, 0)))
    assert prompts_by_part(second) == [6] * 5
    assert second.allocation.endswith("allocated in proportion")


def test_the_chance_of_a_label_is_that_of_its_part_whatever_batch_it_came_in() -> None:
    world = World(np.random.default_rng(6))
    labels = world.labels(world.sheet(80, 0))
    labels += world.labels(world.sheet(60, 1, labels))
    found = weighed(labels, world.samples, SIDES)
    part = {sample.id: sample.stratum for sample in world.samples}
    labelled = Counter(part[name] for name in {label.sample for label in labels})
    # 80 prompts are in each part.
    assert all(label.probability == labelled[part[label.sample]] / 80 for label in found)
    assert len({label.probability for label in found}) > 1
    assert sum(1 / label.probability for label in found) == pytest.approx(2 * N)
    assert weighed(labels[:50], world.samples, SIDES) == labels[:50], "as they were drawn"


def test_the_claim_by_labels_of_both_batches_is_unbiased_and_covers() -> None:
    """Over 80 worlds. The plain mean of the same labels is far off; as many labels in proportion say less."""
    rng = np.random.default_rng(7)
    found, plain, usual = [], [], []
    for seed in range(80):
        world = World(rng)
        samples = without_parts(world.samples)
        first = world.labels(world.sheet(160, seed))
        both = first + world.labels(world.sheet(160, 1000 + seed, first))
        found.append(claim(weighed(both, world.samples, SIDES), samples))
        plain.append(np.mean([world.gap[int(label.sample[1:])] / 9 for label in both]))
        if seed < 30:
            both = first + world.labels(world.sheet(160, 1000 + seed, first, by_spread=False))
            usual.append(claim(weighed(both, world.samples, SIDES), samples))
    errors = np.array([each.value for each in found]) - TRUTH
    standard_error = errors.std() / np.sqrt(len(errors))
    assert abs(errors.mean()) < 3 * standard_error
    assert np.mean(plain) - TRUTH > 8 * standard_error
    # Of 80 that cover at .95, fewer than 71 do in one case of a hundred and fifty.
    assert sum(each.low <= TRUTH <= each.high for each in found) >= 71
    assert np.mean([each.high - each.low for each in found]) < 0.85 * np.mean([each.high - each.low for each in usual])


def test_pairs_are_parted_by_which_side_looks_better() -> None:
    assert win_score((0.9, 0.5)) == pytest.approx(0.7)
    world = World(np.random.default_rng(8))
    by_gap = parted(world.samples, world.said, pairs=True)
    order = sorted(by_gap, key=lambda sample: world.said[sample.id][0] - world.said[sample.id][1])
    assert [sample.stratum for sample in order] == sorted(sample.stratum for sample in order)
    assert len({sample.stratum for sample in order}) == 5
    assert {sample.stratum for sample in parted(world.samples, {}, pairs=True)} == {""}
