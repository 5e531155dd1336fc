"""A sheet of answers for people to label: who wrote them is hidden, their order and sides are random.

Drawn are prompts, with an answer of each system that has one, because what is compared later are answers to one prompt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from harness.autorater.label_rows import json_text
from harness.core.errors import HarnessError
from harness.core.judging import Item, Label, LabelKind, Pair, Preference, Round, Single, text_hash
from harness.store import disk
from harness.store.encoding import canonical, parse

Shown: TypeAlias = Literal["given", "swapped"]
SHARED = 0.25
_N_PARTS = 5
_TURNED: Mapping[Preference, Preference] = {"first": "second", "second": "first", "tie": "tie"}


@dataclass(frozen=True, slots=True)
class SheetItem:
    """One thing to label. id: says nothing of whose it is. shown: the order in which the two of a pair are shown.

    probability: chance with which it came onto the sheet; stratum: the part it was drawn from. shared: whether every
    annotator labels it, so that their agreement can be told; the others are labelled by whoever comes first.
    sample: the sample's id, where it is another than the item's. also: further systems that gave this very text to this
    prompt; it is asked about once, and the label stands for all of them.
    """

    id: str
    item: Item
    shown: Shown = "given"
    probability: float = 1.0
    stratum: str = ""
    shared: bool = True
    sample: str = ""
    also: tuple[tuple[str, ...], ...] = ()

    @property
    def answers(self) -> tuple[str, ...]:
        """The answers in the order in which they are shown."""
        if isinstance(self.item, Single):
            return (self.item.answer,)
        return self.item.answers if self.shown == "given" else self.item.answers[::-1]


@dataclass(frozen=True, slots=True)
class Sheet:
    """What people are asked, and about what, in the order in which it is shown."""

    kind: LabelKind
    criterion: str
    items: tuple[SheetItem, ...]
    round: Round = "calibration"
    scale: int = 5
    split: str = ""

    @property
    def id(self) -> str:
        """Hash of the items' names: two sheets are the same where they ask the same."""
        return text_hash(self.criterion, *(each.id for each in self.items))[:16]

    @property
    def n_answers(self) -> int:
        """Answers (or pairs) that its labels will stand for; a text that several systems gave is one item."""
        return sum(1 + len(each.also) for each in self.items)


Unit: TypeAlias = tuple[Item, ...]


def draw(
    items: Mapping[str, Sequence[Item]],
    *,
    n: int,
    seed: int,
    kind: LabelKind,
    criterion: str,
    overlap: float = SHARED,
    scores: Mapping[str, float] | None = None,
    samples: Mapping[str, str] | None = None,
    round: Round = "calibration",
    scale: int = 5,
    split: str = "",
) -> Sheet:
    """A sheet of about n of the items, never more: prompts at random within strata, all systems' answers of each.

    items: by whose they are. For `pair` single answers are made into pairs: each further system against the first one,
    on the same prompt. scores: item id -> a judge's score; strata are then fifths of a prompt's mean score besides the
    systems it has. samples: item id -> its sample's, where they differ. overlap: share of the prompts that every
    annotator labels. A text that several systems gave to a prompt counts for each, and is asked about once.
    E-SHEET where there is nothing to draw from, E-SURROGATE for texts that no file can hold.
    """
    given = [item for each in items.values() for item in each]
    json_text([text for item in given for text in _texts(item)])
    made = _pairs(given) if kind == "pair" else _singles(given)
    units = _units(made)
    if not units or n < 1:
        raise _nothing(f"{len(units)} prompts with answers, and n = {n}")
    rng = np.random.default_rng(seed)
    strata = _strata(units, scores or {}, n)
    sizes = _sizes({name: (len(each), len(each[0])) for name, each in strata.items()}, n)
    asked = (criterion, kind, str(scale), round)
    drawn: list[SheetItem] = []
    for name, members in strata.items():
        chosen = [members[index] for index in rng.permutation(len(members))[: sizes[name]]]
        n_shared = round_half_up(overlap * len(chosen))
        for number, unit in enumerate(chosen):
            for item in unit:
                turned = isinstance(item, Pair) and rng.random() < 0.5
                drawn.append(
                    SheetItem(
                        id=text_hash(str(seed), *asked, item.id, *_systems(item), str(len(drawn)))[:16],
                        item=item,
                        shown="swapped" if turned else "given",
                        probability=sizes[name] / len(members),
                        stratum=name,
                        shared=number < n_shared,
                        sample=(samples or {}).get(item.id, ""),
                    )
                )
    if not drawn:
        raise _nothing(f"n = {n} is fewer than the {len(units[0])} answers that one prompt has")
    once = _each_text_once(drawn)
    return Sheet(kind, criterion, tuple(once[index] for index in rng.permutation(len(once))), round, scale, split)


def save_sheet(sheet: Sheet, path: Path) -> None:
    """Write the sheet, durable. It names the systems: annotators should not read it."""
    disk.write_atomic(path, canonical(sheet))


def load_sheet(path: Path) -> Sheet:
    """A sheet that was saved; E-CORRUPT where the file is not one."""
    with disk.guarded(path, "read"):
        content = path.read_bytes()
    return parse(Sheet, content, name=str(path))


def label_for(
    sheet: Sheet, item: SheetItem, value: int | Preference, *, annotator: str, id: str, guideline: str, time: str = ""
) -> Label:
    """The label that this value is. value: of a pair, as its answers were shown."""
    judged = item.item
    if not isinstance(value, int) and item.shown == "swapped":
        value = _TURNED[value]
    return Label(
        id=id,
        kind=sheet.kind,
        criterion=sheet.criterion,
        value=value,
        annotator=annotator,
        question=judged.question,
        answers=(judged.answer,) if isinstance(judged, Single) else judged.answers,
        systems=(judged.system,) if isinstance(judged, Single) else judged.systems,
        round=sheet.round,
        scale=sheet.scale,
        sample=item.sample or judged.id,
        split=sheet.split,
        references=judged.references,
        shown=item.shown,
        probability=item.probability,
        stratum=item.stratum,
        guideline=guideline,
        time=time,
    )


def labels_for(
    sheet: Sheet, item: SheetItem, value: int | Preference, *, annotator: str, id: str, guideline: str, time: str = ""
) -> tuple[Label, ...]:
    """The label that this value is, and the same one for each further system that gave this text; ids begin alike."""
    label = label_for(sheet, item, value, annotator=annotator, id=id, guideline=guideline, time=time)
    others = (replace(label, id=f"{id}.{number}", systems=systems) for number, systems in enumerate(item.also, 1))
    return (label, *others)


def shown_value(label: Label) -> int | Preference:
    """The label's value as it looked to its annotator, sides as they were shown."""
    if isinstance(label.value, int) or label.shown == "given":
        return label.value
    return _TURNED[label.value]


def item_id(label_id: str) -> str:
    """Which item of a sheet a label is of, by the label's id: the ids of labels begin with it."""
    return label_id.partition(".")[0]


def values_of(sheet: Sheet) -> tuple[int | Preference, ...]:
    """What can be answered, from the worst to the best; of pairs first, tie, second."""
    if sheet.kind == "pair":
        return ("first", "tie", "second")
    return (0, 1) if sheet.kind == "pass_fail" else tuple(range(1, sheet.scale + 1))


def round_half_up(number: float) -> int:
    """Nearest whole number; the built-in one rounds halves to even."""
    return int(number + 0.5)


def _nothing(why: str) -> HarnessError:
    return HarnessError(
        f"there is nothing to label: {why}", fix="name a run with outputs, and a larger n", code="E-SHEET"
    )


def _texts(item: Item) -> tuple[str, ...]:
    answers = (item.answer,) if isinstance(item, Single) else item.answers
    return (item.question, *answers, *item.references)


def _systems(item: Item) -> tuple[str, ...]:
    return (item.system,) if isinstance(item, Single) else item.systems


def _each_text_once(drawn: Sequence[SheetItem]) -> list[SheetItem]:
    """Items that are alike made one: asking twice about a text shows what chance does to a person, and no system."""
    found: dict[str, SheetItem] = {}
    for each in drawn:
        answers = (each.item.answer,) if isinstance(each.item, Single) else each.item.answers
        name = text_hash(each.item.question, *answers)
        known = found.setdefault(name, each)
        systems = _systems(each.item)
        if systems not in (_systems(known.item), *known.also):
            found[name] = replace(known, also=(*known.also, systems), shared=known.shared or each.shared)
    return list(found.values())


def _singles(items: Sequence[Item]) -> list[Item]:
    pairs = [item for item in items if isinstance(item, Pair)]
    if pairs:
        raise HarnessError(
            f"{len(pairs)} of {len(items)} items are pairs, and what is asked is about single answers",
            fix="ask for kind=pair, or give the answers one by one",
            code="E-SHEET",
        )
    return list(items)


def _pairs(items: Sequence[Item]) -> list[Item]:
    """Pairs as they are, and those that single answers to one prompt make: each system against the first."""
    made: list[Item] = [item for item in items if isinstance(item, Pair)]
    for first, *others in _units([item for item in items if isinstance(item, Single)]):
        made += [_pair(first, other) for other in others]
    return made


def _pair(first: Item, second: Item) -> Pair:
    assert isinstance(first, Single)
    assert isinstance(second, Single)
    return Pair(
        id=first.id if first.id == second.id else f"{first.id} | {second.id}",
        cluster=first.cluster,
        systems=(first.system, second.system),
        question=first.question,
        answers=(first.answer, second.answer),
        references=first.references,
    )


def _units(items: Sequence[Item]) -> list[Unit]:
    """What is drawn together: of each prompt one answer of every system; a second answer begins another unit."""
    clusters: dict[str, dict[tuple[str, ...], list[Item]]] = defaultdict(lambda: defaultdict(list))
    rank: dict[tuple[str, ...], int] = {}
    for item in items:
        rank.setdefault(_systems(item), len(rank))
        clusters[item.cluster][_systems(item)].append(item)
    units = []
    for by_system in clusters.values():
        columns = [by_system[systems] for systems in sorted(by_system, key=rank.__getitem__)]
        units += [tuple(item for item in row if item is not None) for row in zip_longest(*columns)]
    return units


def _strata(units: Sequence[Unit], scores: Mapping[str, float], n: int) -> dict[str, list[Unit]]:
    """Units by the systems they have and, where a judge scored them all and n allows, by the fifth of its scores."""
    by_systems: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        by_systems[" + ".join(" v ".join(_systems(item)) for item in unit)].append(unit)
    strata: dict[str, list[Unit]] = {}
    for name, members in by_systems.items():
        fifths = _fifths(members, scores)
        if fifths is None or n < 2 * _N_PARTS * len(members[0]):
            strata[name] = members
            continue
        for unit, part in zip(members, fifths, strict=True):
            strata.setdefault(f"{name}, fifth {part + 1} of the judge's scores", []).append(unit)
    return strata


def _fifths(units: Sequence[Unit], scores: Mapping[str, float]) -> list[int] | None:
    """The fifth, 0 to 4, that a unit's mean score is in; None where some item has no score."""
    if any(item.id not in scores for unit in units for item in unit):
        return None
    means = np.array([np.mean([scores[item.id] for item in unit]) for unit in units])
    ranks = np.empty(len(units), dtype=int)
    ranks[np.argsort(means, kind="stable")] = np.arange(len(units))
    return [int(rank) * _N_PARTS // len(units) for rank in ranks]


def _sizes(strata: Mapping[str, tuple[int, int]], n: int) -> dict[str, int]:
    """How many units of each stratum: in proportion, at least one where n allows, at most n items in all.

    strata: name -> (units, items in a unit).
    """
    total = sum(n_units * size for n_units, size in strata.values())
    exact = {name: n_units * min(1.0, n / total) for name, (n_units, _) in strata.items()}
    sizes = {name: int(each) for name, each in exact.items()}
    left = n - sum(sizes[name] * strata[name][1] for name in strata)
    for name in sorted(strata, key=lambda name: (sizes[name] > 0, sizes[name] - exact[name])):
        if strata[name][1] <= left and sizes[name] < strata[name][0]:
            sizes[name] += 1
            left -= strata[name][1]
    return sizes
