"""Who has labelled what: each annotator's items, how far they are, and whether people agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from harness.core.judging import Label, Preference, text_hash
from harness.labelling.sheet import Sheet, item_id, shown_value

Given: TypeAlias = Mapping[str, Mapping[str, int | Preference]]


@dataclass(frozen=True, slots=True)
class Progress:
    """An annotator's items in order, their answers as they looked, and with how many of others' they agree."""

    items: tuple[str, ...]
    done: Mapping[str, int | Preference]
    n_same: int
    n_shared: int


def given(sheet: Sheet, labels: Iterable[Label]) -> dict[str, dict[str, int | Preference]]:
    """Annotator -> item -> the last answer, as it looked; labels of other sheets are passed over."""
    known = {item.id for item in sheet.items}
    answers: dict[str, dict[str, int | Preference]] = {}
    for label in labels:
        if item_id(label.id) in known:
            answers.setdefault(label.annotator, {})[item_id(label.id)] = shown_value(label)
    return answers


def progress(sheet: Sheet, annotator: str, answers: Given) -> Progress:
    """How far somebody is."""
    own = answers.get(annotator, {})
    same, shared = agreement(annotator, answers)
    return Progress(assigned(sheet, annotator, answers), own, same, shared)


def assigned(sheet: Sheet, annotator: str, answers: Given) -> tuple[str, ...]:
    """What somebody is asked: all that is shared, and of the rest what nobody else has labelled.

    Each begins at another place of the sheet, so that two who work at once do not label the same items of the rest.
    """
    taken = {item for name, done in answers.items() if name != annotator for item in done}
    own = answers.get(annotator, {})
    start = int(text_hash(annotator), 16) % max(1, len(sheet.items))
    turned = (*sheet.items[start:], *sheet.items[:start])
    return tuple(each.id for each in turned if each.shared or each.id in own or each.id not in taken)


def agreement(annotator: str, answers: Given) -> tuple[int, int]:
    """(answers that are another's too, answers to what another has answered), counted once for each other person."""
    own = answers.get(annotator, {})
    pairs = [
        (own[item], value)
        for name, done in answers.items()
        if name != annotator
        for item, value in done.items()
        if item in own
    ]
    return sum(one == other for one, other in pairs), len(pairs)
