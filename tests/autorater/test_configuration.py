"""Which labels a judge answers to, and what is said of the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.autorater.configuration import ConfiguredJudge, configured_judge
from harness.core.judging import Label, text_hash
from harness.store.encoding import canonical

RUBRIC = "How kind is it?\n"
OWN = Label("own", "likert", "kind", 4, "ann", "Question?", ("Answer.",), ("base",))


def configured(folder: Path, *labels: Label) -> ConfiguredJudge:
    judge = folder / "judges" / "kind"
    judge.mkdir(parents=True)
    (judge / "judge.toml").write_text('kind = "likert"\ncriterion = "kind"\n')
    (judge / "rubric.md").write_text(RUBRIC)
    (folder / "labels.jsonl").write_bytes(b"".join(canonical(label, indent=None) for label in labels))
    return configured_judge("kind", folder)


def test_labels_of_other_criteria_and_of_the_final_round_are_not_its_own(tmp_path: Path) -> None:
    found = configured(tmp_path, OWN, replace(OWN, id="b", criterion="brief"), replace(OWN, id="c", round="final"))
    assert [label.id for label in found.labels] == ["own"]
    assert found.notes == ()


def test_notes_count_only_the_labels_that_the_judge_answers_to(tmp_path: Path) -> None:
    """Of three labels under an older rubric one is of this criterion; what befell the others is no matter here."""
    old = text_hash("an older rubric")
    brief = [replace(OWN, id=f"b{n}", criterion="brief", guideline=old, value=n) for n in (1, 2)]
    found = configured(tmp_path, OWN, replace(OWN, id="old", annotator="bob", guideline=old), *brief)
    assert found.notes == ("1 of 2 labels were given under another rubric than the present one",)


def test_labels_of_another_scale_or_kind_are_left_out_and_said(tmp_path: Path) -> None:
    others = [replace(OWN, id=f"seven {n}", scale=7, value=n) for n in (1, 7)]
    passed = replace(OWN, id="pass", kind="pass_fail", value=1)
    found = configured(tmp_path, OWN, *others, passed)
    assert [label.id for label in found.labels] == ["own"]
    file = tmp_path / "judges" / "kind" / "judge.toml"
    assert found.notes == (
        f"2 labels for 'kind' are left out: they are likert 1-7, and {file} asks for likert 1-5",
        f"1 labels for 'kind' are left out: they are pass_fail, and {file} asks for likert 1-5",
    )


def test_a_file_without_a_label_of_the_criterion_says_for_what_there_are_some(tmp_path: Path) -> None:
    found = configured(tmp_path, replace(OWN, criterion="brief"))
    assert found.labels == ()
    assert found.notes == ("no label there is for 'kind'; there are labels for 'brief'",)
