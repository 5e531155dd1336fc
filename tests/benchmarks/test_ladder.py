"""The ladder's contestants start from the same material, and what they write is read rightly; nothing is timed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from benchmarks.ladder.climbing import HARNESS, Climb, rungs
from benchmarks.ladder.making import material_of
from benchmarks.ladder.material import Material, Size
from benchmarks.ladder.sameness import prompts_of_harness, rows_of_harness, same_prompts
from benchmarks.ladder.tables import times
from benchmarks.ladder.written import prompts_of_lm_eval, score_of_lm_eval, scores_of_harness
from benchmarks.measuring import Measured
from harness.catalogue import read_toml
from harness.core.specs import TaskSpec


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Twenty rows in steps of sixteen, on the embedded model."""
    return material_of(tmp_path_factory.mktemp("ladder") / "material", "headlines", "demo", Size(20, 6, 3, 2, 2), 1)


@pytest.fixture(scope="module")
def tokenizer(material: Material) -> Any:
    """As the peers' libraries load it."""
    return AutoTokenizer.from_pretrained(material.model)


def lines_of(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_the_peer_is_given_the_training_rows_of_the_harness(material: Material, tokenizer: Any):
    ours = rows_of_harness(material)
    theirs = lines_of(material.folder / "peer" / "train.jsonl")
    assert len(ours) == len(theirs) == 20
    for row, conversation in zip(ours, theirs, strict=True):
        whole = tokenizer.apply_chat_template([*conversation["prompt"], *conversation["completion"]], return_dict=False)
        prompt = tokenizer.apply_chat_template(conversation["prompt"], add_generation_prompt=True, return_dict=False)
        assert row["ids"] == whole
        assert row["loss"] == [0] * len(prompt) + [1] * (len(whole) - len(prompt))


def test_the_peer_is_given_the_samples_and_shots_of_the_harness(material: Material, tokenizer: Any):
    task = json.loads((material.folder / "peer" / "ladder.yaml").read_text(encoding="utf-8"))
    shots = task["fewshot_config"]["samples"]
    samples = lines_of(Path(task["dataset_kwargs"]["data_files"]["test"]))
    assert (len(shots), len(samples)) == (2, 6)
    assert not [shot for shot in shots if shot in samples]
    ours = prompts_of_harness(material)
    for k in (0, 2):
        turns = [turn for shot in shots[:k] for turn in conversation(shot)]
        theirs = [prompted(tokenizer, material, [*turns, *conversation(sample)[:1]]) for sample in samples]
        assert list(ours[k]) == theirs


def conversation(document: dict[str, str]) -> list[dict[str, str]]:
    return [{"role": "user", "content": document["question"]}, {"role": "assistant", "content": document["answer"]}]


def prompted(tokenizer: Any, material: Material, turns: list[dict[str, str]]) -> str:
    system = {"role": "system", "content": material.task.prompting.system}
    text: str = tokenizer.apply_chat_template([system, *turns], tokenize=False, add_generation_prompt=True)
    return text


def test_the_task_that_is_written_is_the_one_that_is_meant(material: Material):
    assert TaskSpec.model_validate(dict(read_toml(material.folder / "task" / "task.toml"))) == material.task
    assert (material.task.metrics.primary, material.task.prompting.draws) == ("exact_match", 1)


def test_checkpoints_are_looked_for_where_a_trainer_puts_them(material: Material, tmp_path: Path):
    # 20 rows in steps of 16 make two steps an epoch.
    assert rungs(material, tmp_path) == {
        "base-0shot": (0, None),
        "base-2shot": (2, None),
        "checkpoint1": (0, tmp_path / "checkpoints" / "checkpoint-2"),
        "checkpoint2": (0, tmp_path / "checkpoints" / "checkpoint-4"),
    }


def test_what_lm_eval_writes_is_found_below_its_folder(tmp_path: Path):
    folder = tmp_path / "base-0shot" / "__models__demo"
    folder.mkdir(parents=True)
    results = {"results": {"ladder": {"alias": "ladder", "exact_match,none": 0.25, "exact_match_stderr,none": 0.1}}}
    (folder / "results_2026-01-02T03-04-05.678.json").write_text(json.dumps(results), encoding="utf-8")
    samples = [{"doc_id": i, "arguments": {"gen_args_0": {"arg_0": f"prompt {i}", "arg_1": {}}}} for i in range(2)]
    text = "".join(f"{json.dumps(sample)}\n" for sample in samples)
    (folder / "samples_ladder_2026-01-02T03-04-05.678.jsonl").write_text(text, encoding="utf-8")
    assert score_of_lm_eval(tmp_path / "base-0shot") == 0.25
    assert prompts_of_lm_eval(tmp_path / "base-0shot") == ("prompt 0", "prompt 1")


def test_checkpoints_of_the_harness_are_numbered_by_step_and_scored_on_validation():
    def record(arm: str, split: str, step: int | None, value: float) -> dict[str, Any]:
        estimates = [{"metric": "bleu", "value": 99.0}, {"metric": "exact_match", "value": value}]
        return {"arm": arm, "split": split, "step": step, "estimates": estimates}

    evaluations = [
        record("base-0shot", "validation", None, 0.1),
        record("step-000100", "validation", 100, 0.3),
        record("step-000050", "validation", 50, 0.2),
        record("base-0shot", "test", None, 0.9),
    ]
    found = scores_of_harness({"evaluations": evaluations})
    assert found == {"base-0shot": 0.1, "checkpoint1": 0.2, "checkpoint2": 0.3}


def test_one_prompt_that_differs_or_an_arm_that_is_missing_is_told(material: Material):
    ours = prompts_of_harness(material)
    prompts = {arm: ours[2 if arm == "base-2shot" else 0] for arm in material.arms}
    took = Measured(1.0, 1.0)
    climb = Climb(took, {"all": took}, {}, prompts)
    assert same_prompts(material, climb)
    other = {**prompts, "checkpoint2": (*prompts["checkpoint2"][:-1], "<|user|>another")}
    assert not same_prompts(material, replace(climb, prompts=other))
    assert not same_prompts(material, replace(climb, prompts={**prompts, "base-2shot": ours[0]}))
    assert not same_prompts(material, replace(climb, prompts={arm: prompts[arm] for arm in material.arms[1:]}))


def test_ratios_are_of_one_round():
    def climbs(*walls: float) -> list[Climb]:
        return [Climb(Measured(wall, 2 * wall, 100.0), {}, {}, {}) for wall in walls]

    lines = times({HARNESS: climbs(1, 2, 4), "peer": climbs(5, 4, 12)}).splitlines()
    # 5, 2 and 3 times as long; medians by themselves are 2 and 5.
    assert lines[2] == "| harness | 2.0 | 4.0 | 100 | 1.00 | 1.00 |"
    assert lines[3] == "| peer | 5.0 | 10.0 | 100 | 3.00 | 3.00 |"
