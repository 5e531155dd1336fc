"""The table of mutants fits the sources; whether they are killed, `make mutants` finds out."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants.run import HEADING, ROOT, Mutant, chosen, judged, planted, read_table, write_markdown
from tests.mutants.witness import strangers

SILENTS, MUTANTS = read_table()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.id)
def test_every_mutant_can_be_planted_and_its_file_still_compiles(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert ast.dump(ast.parse(planted(mutant, text))) != ast.dump(ast.parse(text))


def test_every_silent_failure_has_a_mutant_or_a_reason_and_not_both() -> None:
    with_mutants = {mutant.silent for mutant in MUTANTS}
    assert {silent.id for silent in SILENTS} >= {f"S{n}" for n in range(1, 45)} | with_mutants
    assert [silent.id for silent in SILENTS if (silent.id in with_mutants) == bool(silent.left_out)] == []


def test_every_named_test_exists() -> None:
    for mutant in MUTANTS:
        assert mutant.tests
        for test in mutant.tests:
            file, _, name = test.partition("::")
            source = (ROOT / file).read_text(encoding="utf-8")
            assert f"\ndef {name.partition('[')[0]}(" in source, f"{mutant.id}: {test}"


def test_ids_are_used_once() -> None:
    ids = [mutant.id for mutant in MUTANTS]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[SPJ]\d+[a-z]", one) for one in ids)


def test_an_original_that_stands_twice_or_not_at_all_is_refused() -> None:
    mutant = replace(MUTANTS[0], was="x", becomes="y")
    assert planted(mutant, "a x b") == "a y b"
    for text in ("x x", "a b"):
        with pytest.raises(ValueError, match=f"stands {text.count('x')} times"):
            planted(mutant, text)


def test_only_a_failing_test_kills() -> None:
    mutant = replace(MUTANTS[0], tests=("a.py::one", "a.py::two"))
    one = {"test": "a.py::one[x]", "when": "call", "raised": "AssertionError"}
    two = {"test": "a.py::two", "when": "call", "raised": "Failed"}
    assert judged(mutant, 1, [one, two], "") == ""
    assert judged(mutant, 0, [], "") == "survived"
    assert judged(mutant, 1, [one], "").startswith("a.py::two passed")
    assert judged(mutant, 1, [one, {**two, "raised": "NameError"}], "").startswith("a.py::two passed, or ended in a")
    assert judged(mutant, 1, [one, {**two, "when": "setup"}], "") == "error in a.py::two (setup)"
    assert judged(mutant, 2, [], "no tests ran") == "pytest ended with 2: no tests ran"
    assert judged(replace(mutant, tests=("a.py::on",)), 1, [one], "").startswith("a.py::on passed")


def test_mutants_are_chosen_by_their_own_id_or_their_failures() -> None:
    assert [mutant.id for mutant in chosen(MUTANTS, ["S21b"])] == ["S21b"]
    assert {mutant.silent for mutant in chosen(MUTANTS, ["S2", "S21"])} == {"S2", "S21"}
    assert chosen(MUTANTS, []) == list(MUTANTS)
    with pytest.raises(SystemExit, match="no mutant S999"):
        chosen(MUTANTS, ["S999"])


def test_the_table_replaces_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(f"words\n\n{HEADING}\n\nold\n")
    write_markdown(file, "| new |\n", "2 of 2.")
    assert file.read_text() == f"words\n\n{HEADING}\n\n2 of 2.\n\n| new |\n"


def test_modules_from_elsewhere_than_the_copy_are_noticed(tmp_path: Path) -> None:
    assert str(ROOT / "tests/mutants/run.py") in strangers(tmp_path)
    assert str(ROOT / "tests/mutants/run.py") not in strangers(ROOT)
