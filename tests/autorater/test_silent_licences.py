"""What a licence is for, what a licensed judge may say of labelled answers, and when it loses its say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from pydantic import JsonValue

from harness.autorater.canaries import is_canary
from harness.autorater.configuration import ConfiguredJudge, configured_judge
from harness.autorater.gate import CANARIES
from harness.autorater.labels import export_labels
from harness.autorater.licensing import LicensedJudge, Licensing, fingerprint_of, lapsed, license_judge
from harness.autorater.rating import items_of
from harness.backends.fake import FakeKind
from harness.core.judging import Item, Label, Verdict
from harness.core.protocols import Generator, Judge
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Failure
from harness.stats.calibration import FittedMap
from harness.stats.folds import folds_of
from tests.autorater.synthetic_labels import imitator, labels


def quiet(done: int, total: int, live: str) -> None: ...


def configured(folder: Path, found: Sequence[Label]) -> ConfiguredJudge:
    """A judge of kind likert with these labels, whose model nobody asks here."""
    judge = folder / "judges" / "help"
    judge.mkdir(parents=True, exist_ok=True)
    (judge / "judge.toml").write_text('kind = "likert"\ncriterion = "help"\n')
    (judge / "rubric.md").write_text("5: it helps. 1: it does not.\n")
    export_labels(found, folder / "labels.jsonl")
    return configured_judge("help", folder)


def generator(model: str = "fake") -> Generator:
    return FakeKind().create(ModelSpec(name=model), BackendSpec(name="fake"), thinking=False)


def licensing(folder: Path, *, probing: bool = True) -> Licensing:
    """With nothing but the answers' length to beat."""
    return Licensing(runs=folder / "runs", task=folder, metrics={}, seed=0, n_resamples=300, model="m", probing=probing)


@dataclass(frozen=True)
class Flattered:
    """Says what the other judge says, and that every known bad answer is the best there is."""

    other: Judge
    name: str = "help"
    kind: str = "likert"
    takes: Literal["single"] = "single"

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        return self.other.identity

    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        for name, said in self.other.rate(items, generator):
            yield name, Verdict(1.0, (1.0,)) if is_canary(name) else said


def test_judge_that_likes_known_bad_answers_has_no_say_whatever_else_it_passes(tmp_path: Path) -> None:
    found = labels(annotators=2)
    own, sound = configured(tmp_path, found), imitator(found, tmp_path)
    fair = license_judge(own, sound, generator(), licensing(tmp_path), quiet).card.licence
    assert fair.grade == "drive", fair.reasons
    liking = license_judge(own, Flattered(sound), generator(), licensing(tmp_path), quiet).card.licence
    assert liking.grade == "advisory"
    assert [(line.name, line.passed) for line in liking.lines if line not in fair.lines] == [(CANARIES, "fail")]
    assert "known bad answers" in liking.reasons[0]


def test_labelled_answers_are_scored_by_the_map_that_did_not_see_their_prompt(tmp_path: Path) -> None:
    found = labels(60)
    judge = imitator(found, tmp_path, rho=0.6)
    examined = license_judge(configured(tmp_path, found), judge, generator(), licensing(tmp_path, probing=False), quiet)
    said = {name: verdict for name, verdict in judge.rate(items_of(found), generator()) if isinstance(verdict, Verdict)}
    new = Verdict(0.4, (0.4,))
    scores = LicensedJudge(judge, examined).scores({**said, "never labelled": new})
    maps = [FittedMap.from_json(stored) for stored in examined.card.maps]
    assert len(maps) == 5
    for label, fold in zip(found, folds_of([label.cluster for label in found]), strict=True):
        assert scores[label.item] == pytest.approx(maps[fold](np.array([said[label.item].features]))[0], abs=1e-12)
    of_all = [each(np.array([new.features]))[0] for each in maps]
    assert scores["never labelled"] == pytest.approx(np.mean(of_all), abs=1e-12)


@pytest.mark.parametrize("part", ["model", "prompt", "rubric", "settings", "labels"])
def test_a_licence_lapses_with_each_thing_that_it_was_given_for(part: str, tmp_path: Path) -> None:
    found = labels(20)
    judge, own = imitator(found, tmp_path), configured(tmp_path, found)
    asked = generator()
    licence = license_judge(own, judge, asked, licensing(tmp_path, probing=False), quiet).card.licence
    assert lapsed(licence, fingerprint_of(own, judge, asked)) == ()
    first = own.labels[0]
    turned = replace(first, value=6 - first.value if first.value != 3 else 5)  # type: ignore[operator]
    changed = {
        "model": fingerprint_of(own, judge, generator("another")),
        "prompt": fingerprint_of(own, imitator(found, tmp_path, rho=0.5), asked),
        "rubric": fingerprint_of(replace(own, rubric=own.rubric + "Be strict.\n"), judge, asked),
        "settings": fingerprint_of(replace(own, spec=own.spec.model_copy(update={"delta": 0.2})), judge, asked),
        "labels": fingerprint_of(replace(own, labels=(turned, *own.labels[1:])), judge, asked),
    }
    assert lapsed(licence, changed[part]) == (part,)
