"""A sheet of answers for people to label: who wrote them is hidden, their order and sides are random.

Drawn are prompts, with an answer of each system that has one, because what is compared later are answers to one prompt.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from harness.autorater.label_rows import json_text
from harness.core.errors import HarnessError
from harness.core.judging import Item, Label, LabelKind, Pair, Preference, Round, Single, text_hash
from harness.stats import allocation
from harness.store import disk
from harness.store.encoding import canonical, parse

Shown: TypeAlias = Literal["given", "swapped"]
SHARED = 0.25
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
    """What people are asked, and about what, in the order in which it is shown.

    allocation: in words, how many prompts came from each part by the judge's score, and why; empty without parts.
    """

    kind: LabelKind
    criterion: str
    items: tuple[SheetItem, ...]
    round: Round = "calibration"
    scale: int = 5
    split: str = ""
    allocation: str = ""

    @property
    def id(self) -> str:
        """Hash of the items' names: two sheets are the same where they ask the same."""
        return text_hash(self.criterion, *(each.id for each in self.items))[:16]

    @property
    def n_answers(self) -> int:
        """Answers (or pairs) that its labels will stand for; a text that several systems gave is one item."""
        return sum(1 + len(each.also) for each in self.items)


@dataclass(frozen=True, slots=True)
class Earlier:
    """What people have labelled before a sheet is drawn. items: by id; what is labelled whole is not drawn again.

    spreads: by part (see `allocation.score_parts`) the spread of what the judge's scores leave unexplained in
    n_labels labels; empty where nobody measured it, and each part then has its share of the labels by its size.
    """

    items: Set[str] = frozenset()
    spreads: Mapping[str, float] = field(default_factory=dict)
    n_labels: int = 0


NOTHING_YET = Earlier()
Unit: TypeAlias = tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class _Pool:
    """Units of the same systems: the part each is in, which are labelled, and how many of each part are wanted."""

    systems: str
    units: Sequence[Unit]
    parts: Sequence[str]
    labelled: Sequence[bool]
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """An item that came onto the sheet; all but `item` as in `SheetItem`, which gives it a name besides."""

    item: Item
    shown: Shown
    probability: float
    stratum: str
    shared: bool


def draw(
    items: Mapping[str, Sequence[Item]],
    *,
    n: int,
    seed: int,
    kind: LabelKind,
    criterion: str,
    overlap: float = SHARED,
    scores: Mapping[str, float] | None = None,
    earlier: Earlier = NOTHING_YET,
    samples: Mapping[str, str] | None = None,
    round: Round = "calibration",
    scale: int = 5,
    split: str = "",
) -> Sheet:
    """A sheet of about n of the items, never more: prompts at random within strata, all systems' answers of each.

    items: by whose they are. For `pair` single answers are made into pairs: each further system against the first one,
    on the same prompt. scores: item id -> a judge's score; strata are then parts by a prompt's mean score besides the
    systems it has. earlier: what is labelled already. samples: item id -> its sample's, where they differ. overlap:
    share of the prompts that every annotator labels. A text that several systems gave to a prompt counts for each, and
    is asked about once.
    E-SHEET where there is nothing to draw from, E-SURROGATE for texts that no file can hold.
    """
    made = _askable([item for each in items.values() for item in each], kind)
    units = _units(made)
    if not units or n < 1:
        raise _nothing(f"{len(units)} prompts with answers, and n = {n}")
    pools = _pools(units, scores or {}, earlier, n=n, final=round == "final")
    if not pools:
        raise _all_labelled(len(made))
    rng = np.random.default_rng(seed)
    drawn = [each for pool in pools for each in _drawn(pool, overlap, rng)]
    if not drawn:
        raise _nothing(f"n = {n} is fewer than the {len(units[0])} answers that one prompt has")
    once = _each_text_once(_named(drawn, (str(seed), criterion, kind, str(scale), round), samples or {}))
    shown = tuple(once[index] for index in rng.permutation(len(once)))
    return Sheet(kind, criterion, shown, round, scale, split, _in_words(pools, earlier))


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


def _all_labelled(n: int) -> HarnessError:
    return HarnessError(
        f"all {n} answers that could be asked about have labels",
        fix="label a newer run's answers; an earlier sheet opens by its own n and seed, for further annotators",
        code="E-SHEET",
    )


def _askable(given: Sequence[Item], kind: LabelKind) -> list[Item]:
    """What can be asked of this kind. E-SURROGATE for texts that no file can hold."""
    json_text([text for item in given for text in _texts(item)])
    return _pairs(given) if kind == "pair" else _singles(given)


def _drawn(pool: _Pool, overlap: float, rng: np.random.Generator) -> list[_Drawn]:
    """As many of a pool as are wanted; the first of each part are for every annotator, in the share that overlaps."""
    chosen = allocation.draw(pool.parts, pool.counts, rng, labelled_I=pool.labelled)
    n_shared = {part: round_half_up(overlap * count) for part, count in pool.counts.items()}
    so_far: Counter[str] = Counter()
    drawn = []
    for index, probability in zip(chosen.indices.tolist(), chosen.probabilities.tolist(), strict=True):
        part = pool.parts[index]
        so_far[part] += 1
        stratum = f"{pool.systems}, {part}" if part else pool.systems
        shared = so_far[part] <= n_shared[part]
        drawn += [_Drawn(item, _side(item, rng), probability, stratum, shared) for item in pool.units[index]]
    return drawn


def _side(item: Item, rng: np.random.Generator) -> Shown:
    """A coin for each pair; a single answer has no sides, and takes no draw from the generator."""
    return "swapped" if isinstance(item, Pair) and rng.random() < 0.5 else "given"


def _named(drawn: Sequence[_Drawn], asked: tuple[str, ...], samples: Mapping[str, str]) -> list[SheetItem]:
    """What was drawn under names that say nothing of whose it is. asked: what makes two sheets' names differ."""
    return [
        SheetItem(
            id=text_hash(*asked, each.item.id, *_systems(each.item), str(number))[:16],
            item=each.item,
            shown=each.shown,
            probability=each.probability,
            stratum=each.stratum,
            shared=each.shared,
            sample=samples.get(each.item.id, ""),
        )
        for number, each in enumerate(drawn)
    ]


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


def _pools(units: Sequence[Unit], scores: Mapping[str, float], earlier: Earlier, *, n: int, final: bool) -> list[_Pool]:
    """Units by the systems they have, where there is something left to label."""
    by_systems: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        by_systems[" + ".join(" v ".join(_systems(item)) for item in unit)].append(unit)
    done = {
        name: [all(item.id in earlier.items for item in unit) for unit in each] for name, each in by_systems.items()
    }
    left = {name: (done[name].count(False), len(each[0])) for name, each in by_systems.items() if not all(done[name])}
    found = []
    for name, wanted in _sizes(left, n).items() if left else ():
        parts = allocation.score_parts([_score(unit, scores) for unit in by_systems[name]])
        if wanted < 2 * len(set(parts)) and not (final and earlier.spreads):
            parts = ("",) * len(parts)
        counts = _counts(parts, done[name], wanted, earlier.spreads, final=final)
        found.append(_Pool(name, by_systems[name], parts, done[name], counts))
    return found


def _score(unit: Unit, scores: Mapping[str, float]) -> float | None:
    """The mean score of a unit's items; None where some item has none."""
    found = [scores.get(item.id) for item in unit]
    known = [score for score in found if score is not None]
    return sum(known) / len(known) if len(known) == len(found) else None


def _counts(
    parts: Sequence[str], labelled: Sequence[bool], wanted: int, spreads: Mapping[str, float], *, final: bool
) -> dict[str, int]:
    """How many units of each part. Parts differ in their chances in the final round alone.

    There an estimate weighs them. Labels that calibrate and grade a judge all count alike, so theirs are in proportion.
    """
    sizes = dict(sorted(Counter(parts).items()))
    done = Counter(part for part, is_done in zip(parts, labelled, strict=True) if is_done)
    if not done:
        return allocation.proportional(sizes, wanted, least=allocation.LEAST_PER_STRATUM if final else 0)
    usual = max(spreads.values(), default=1.0)
    by_part = {part: spreads.get(part, usual) if final else 1.0 for part in sizes}
    return allocation.neyman(sizes, by_part, done, wanted)


def _in_words(pools: Sequence[_Pool], earlier: Earlier) -> str:
    """How many prompts of each part are on a sheet, and why as many; of prompts that all systems answered."""
    counts = max((pool.counts for pool in pools), key=lambda each: sum(each.values()))
    if len(counts) < 2:
        return ""
    how = f"by the spread of {earlier.n_labels} labels" if earlier.spreads else "in proportion"
    *first, last = map(str, counts.values())
    return f"prompts by the judge's score, lowest first: {', '.join(first)} and {last}, allocated {how}"


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
