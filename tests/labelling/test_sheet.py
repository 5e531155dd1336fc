"""What comes onto a sheet: by chance, in known parts, and without a word of whose it is."""

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.core.errors import HarnessError
from harness.core.judging import Pair, Single, latest
from harness.labelling.app import describe, shown
from harness.labelling.progress import agreement, assigned, given
from harness.labelling.sheet import Sheet, draw, label_for, labels_for, load_sheet, save_sheet, shown_value
from tests.labelling.serving import SYSTEMS, a_sheet, singles


def drawn(n: int, seed: int = 0, prompts: int = 100, **more: object) -> Sheet:
    return draw(singles(prompts), n=n, seed=seed, **{"kind": "likert", "criterion": "tone", **more})  # type: ignore[arg-type]


def test_both_systems_answer_the_same_prompts() -> None:
    prompts = defaultdict(set)
    for each in drawn(40).items:
        assert isinstance(each.item, Single)
        prompts[each.item.cluster].add(each.item.system)
    assert len(prompts) == 20
    assert all(systems == set(SYSTEMS) for systems in prompts.values())


def test_never_more_than_n_and_all_where_n_is_large() -> None:
    assert [len(drawn(n).items) for n in (2, 3, 7, 199, 200, 1000)] == [2, 2, 6, 198, 200, 200]
    assert {each.probability for each in drawn(1000).items} == {1.0}


def test_the_probability_is_the_share_of_sheets_an_item_is_on() -> None:
    """40 of 100 prompts with scores in fifths: 8 of each 20. Counted over 400 sheets, within 5 standard errors."""
    scores = {item.id: number for each in singles(100).values() for number, item in enumerate(each)}
    counts: Counter[str] = Counter()
    for seed in range(400):
        sheet = drawn(80, seed, scores=scores)
        assert {each.probability for each in sheet.items} == {0.4}
        assert set(Counter(each.stratum for each in sheet.items).values()) == {16}
        counts.update(each.item.id for each in sheet.items)
    assert len(counts) == 200
    assert all(abs(count - 160) < 5 * np.sqrt(400 * 0.4 * 0.6) for count in counts.values())


def test_strata_are_fifths_by_the_judges_scores() -> None:
    scores = {item.id: number for each in singles(100).values() for number, item in enumerate(each)}
    for each in drawn(80, scores=scores).items:
        assert f"part {scores[each.item.id] // 20 + 1} of 5 by the judge" in each.stratum


def test_prompts_that_one_system_alone_has_are_a_part_of_their_own() -> None:
    items = {**singles(90), "third": [Single("x", "other", "third", "q", "a") for _ in range(2)]}
    sheet = draw(items, n=30, seed=0, kind="likert", criterion="tone")
    parts = Counter((each.stratum, each.probability) for each in sheet.items)
    assert len(sheet.items) <= 30
    assert parts[("third", 0.5)] == 1
    assert sum(parts.values()) == 29


def test_the_order_and_the_sides_are_random_and_a_seed_repeats_them() -> None:
    sheet = drawn(200, kind="pair")
    sides = Counter(each.shown for each in sheet.items)
    assert sides.total() == 100
    assert 30 < sides["swapped"] < 70
    order = [each.item.question for each in sheet.items]
    assert order != sorted(order)
    assert sheet == drawn(200, kind="pair")
    assert sheet != drawn(200, seed=1, kind="pair")


def test_pairs_set_every_system_against_the_first() -> None:
    third = [Single(f"t{each.id}", each.cluster, "third", each.question, "t") for each in singles(5)[SYSTEMS[0]]]
    sheet = draw({**singles(5), "third": third}, n=100, seed=0, kind="pair", criterion="tone")
    systems = Counter(each.item.systems for each in sheet.items if isinstance(each.item, Pair))
    assert systems == {SYSTEMS: 5, (SYSTEMS[0], "third"): 5}


def alike() -> dict[str, list[Single]]:
    """Ten prompts; on the even ones two of three systems say the same."""
    return {
        name: [Single(f"{number}-{name}", f"c{number}", name, f"q{number}", text) for number, text in enumerate(texts)]
        for name, texts in {
            "first": [f"a{number}" for number in range(10)],
            "second": [f"{'ab'[number % 2]}{number}" for number in range(10)],
            "third": [f"c{number}" for number in range(10)],
        }.items()
    }


def test_a_text_of_several_systems_is_on_the_sheet_once_and_its_label_is_each_ones() -> None:
    sheet = draw(alike(), n=100, seed=0, kind="likert", criterion="tone")
    assert (len(sheet.items), sheet.n_answers) == (25, 30)
    [twice] = [each for each in sheet.items if isinstance(each.item, Single) and each.item.answer == "a4"]
    labels = labels_for(sheet, twice, 2, annotator="Ada", id=f"{twice.id}.x", guideline="")
    assert {label.systems for label in labels} == {("first",), ("second",)}
    assert {(label.value, label.item, label.probability) for label in labels} == {(2, labels[0].item, 1.0)}
    assert [label.id for label in labels] == [f"{twice.id}.x", f"{twice.id}.x.1"]
    assert set(latest(labels)) == set(labels), "neither takes the other's place"
    assert given(sheet, labels) == {"Ada": {twice.id: 2}}


def test_a_pair_of_texts_of_several_systems_is_asked_once() -> None:
    """Against the first: the second says the same on five prompts, where the third's pair is another."""
    items = {**alike(), "fourth": [replace(each, id=f"{each.id}-4", system="fourth") for each in alike()["third"]]}
    sheet = draw(items, n=100, seed=0, kind="pair", criterion="tone")
    assert (len(sheet.items), sheet.n_answers) == (20, 30)
    assert {each.also for each in sheet.items} == {(), (("first", "fourth"),)}


def test_one_system_that_says_the_same_twice_is_asked_about_once() -> None:
    items = {"one": [Single(f"{number}", "c", "one", "q", "a") for number in range(2)]}
    sheet = draw(items, n=100, seed=0, kind="likert", criterion="tone")
    assert (len(sheet.items), sheet.n_answers) == (1, 1)


def test_items_of_another_question_have_other_names() -> None:
    """Else an answer to the one would count as one to the other."""
    names = [
        {each.id for each in drawn(20, **more).items}  # type: ignore[arg-type]
        for more in ({}, {"criterion": "length"}, {"kind": "pass_fail"}, {"scale": 3}, {"round": "final"})
    ]
    assert len(set.union(*names)) == sum(map(len, names))


def test_a_pair_shown_in_the_other_order_is_labelled_in_its_own() -> None:
    sheet = a_sheet(20, "pair")
    swapped = next(each for each in sheet.items if each.shown == "swapped")
    assert isinstance(swapped.item, Pair)
    assert swapped.answers == swapped.item.answers[::-1]
    label = label_for(sheet, swapped, "first", annotator="A", id="x", guideline="")
    assert (label.value, label.answers, label.shown) == ("second", swapped.item.answers, "swapped")
    assert label.score == 0.0
    assert shown_value(label) == "first"
    assert label_for(sheet, swapped, "tie", annotator="A", id="x", guideline="").value == "tie"


def test_nothing_a_page_gets_names_a_system() -> None:
    for kind in ("likert", "pair"):
        sheet = a_sheet(12, kind)  # type: ignore[arg-type]
        told = repr([describe(sheet, "rubric"), *map(shown, sheet.items)])
        assert "secret" not in told
        assert "swapped" not in told


def test_a_saved_sheet_is_the_same_sheet(tmp_path: Path) -> None:
    for kind in ("likert", "pair"):
        sheet = a_sheet(6, kind, texts=("a\0b", "\u2028 \u202e"))  # type: ignore[arg-type]
        save_sheet(sheet, tmp_path / "sheet.json")
        assert load_sheet(tmp_path / "sheet.json") == sheet


@pytest.mark.parametrize(("prompts", "n"), [(0, 5), (3, 1), (3, 0)])
def test_a_sheet_of_nothing_is_refused(prompts: int, n: int) -> None:
    with pytest.raises(HarnessError) as caught:
        drawn(n, prompts=prompts)
    assert caught.value.code == "E-SHEET"


def test_pairs_are_not_asked_about_as_single_answers() -> None:
    pairs = {"both": [each.item for each in a_sheet(3, "pair").items]}
    with pytest.raises(HarnessError, match="3 of 3 items are pairs"):
        draw(pairs, n=3, seed=0, kind="likert", criterion="tone")
    assert len(draw(pairs, n=3, seed=0, kind="pair", criterion="tone").items) == 3


def test_two_annotators_share_a_part_and_divide_the_rest() -> None:
    sheet = a_sheet(40, overlap=0.25)
    common = {each.id for each in sheet.items if each.shared}
    assert len(common) == 10
    assert set(assigned(sheet, "Ada", {})) == {each.id for each in sheet.items}
    others = [each.id for each in sheet.items if not each.shared][:12]
    answers = {"Bob": dict.fromkeys([*others, *common], 3)}
    left = set(assigned(sheet, "Ada", answers))
    assert left == {each.id for each in sheet.items} - set(others)
    assert assigned(sheet, "Ada", {}) != assigned(sheet, "Bob", {}), "they begin at different places"


def test_agreement_counts_common_items_and_the_last_answer_of_each() -> None:
    sheet = a_sheet(10)
    made = [("Ada", 0, 3), ("Ada", 1, 4), ("Ada", 2, 1), ("Bob", 0, 3), ("Bob", 1, 5), ("Bob", 1, 4), ("Cy", 0, 1)]
    labels = [
        label_for(sheet, sheet.items[at], value, annotator=name, id=f"{sheet.items[at].id}.{number}", guideline="")
        for number, (name, at, value) in enumerate(made)
    ]
    answers = given(sheet, labels)
    # Ada and Bob: 3 = 3 and 4 = 4; Ada and Cy: 3 and 1; Bob and Cy: 3 and 1.
    assert [agreement(name, answers) for name in ("Ada", "Bob", "Cy", "Di")] == [(2, 3), (2, 3), (0, 2), (0, 0)]
