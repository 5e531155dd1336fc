"""Kept sheets: no two questions share one, and a filled-in file finds its own."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.labelling.kept import Drawing, kept_sheets, made_on
from harness.labelling.sheet import draw, save_sheet
from tests.labelling.serving import singles

DRAWING = Drawing("quality", "run-1", "tone", "likert", 5, "calibration", "validation", 200, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"judge": "hasty"},
        {"run": "run-2"},
        {"criterion": "length"},
        {"kind": "pass_fail"},
        {"scale": 7},
        {"round": "gate"},
        {"split": "test"},
        {"n": 100},
        {"seed": 1},
    ],
)
def test_whatever_decides_what_is_asked_is_in_the_name(changes: dict[str, str]) -> None:
    other = replace(DRAWING, **changes)  # type: ignore[arg-type]
    assert other.file_name != DRAWING.file_name
    assert replace(other).file_name == other.file_name


def test_a_judge_named_by_its_folder_is_one_file_in_the_folder_of_sheets() -> None:
    assert "/" not in replace(DRAWING, judge="../judges/quality").file_name


def test_a_file_finds_its_sheet_by_name_and_else_by_its_items(tmp_path: Path) -> None:
    items = singles(40)
    for n in (20, 40):
        save_sheet(draw(items, n=n, seed=0, kind="likert", criterion="tone"), tmp_path / f"{n}.json")
    save_sheet(draw(items, n=20, seed=1, kind="likert", criterion="tone"), tmp_path / "other.json")
    (tmp_path / "damaged.json").write_text('{"kind": "likert", "crit')
    kept, notes = kept_sheets([tmp_path, tmp_path / "absent"])
    assert [each.file.name for each in kept] == ["20.json", "40.json", "other.json"]
    [note] = notes
    assert "damaged.json is damaged" in note
    small, large, other = (frozenset(item.id for item in each.sheet.items) for each in kept)
    assert small < large, "the larger one begins with the smaller one's"
    assert made_on(small, kept) == kept[0]
    assert made_on(large, kept) == kept[1]
    assert made_on(small, kept, file_name=f"labels-{kept[1].sheet.id}.jsonl") == kept[1]
    assert made_on(other, kept, file_name=f"labels-{kept[0].sheet.id}.jsonl") == kept[2], "a name proves nothing"
    assert made_on(frozenset({"x"}), kept) is None
