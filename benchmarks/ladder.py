"""How long the whole ladder takes beside what a user assembles: TRL's SFTTrainer, then lm-evaluation-harness.

python -m benchmarks.ladder

Two baselines, a tuning with three checkpoints, and the evaluation of each: the same model, rows, samples, prompts,
shots, number of optimiser steps, number format and threads for all; each contestant by its own command, in processes
of its own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measuring import RESULTS, Measured, faster_by, in_child, median_of, table, total, write
from harness.catalogue import find_task, read_toml
from harness.core.specs import TaskSpec
from harness.core.types import Sample
from harness.data import read
from harness.demo.corpus import Dice
from harness.demo.tasks import TASKS, folded, word_runs
from harness.models.location import DEMO_FOLDER
from harness.models.tokenizer import load_tokenizer
from harness.prompting import Renderer, ShotPool

_ROOT = Path(__file__).resolve().parents[1]
_LIBRARIES = ("torch", "transformers", "peft", "accelerate", "datasets", "trl", "lm-eval")
_TASK = "ladder"
_RANK, _ALPHA, _LR, _BATCH_ROWS = 16, 32, 1e-3, 16
HARNESS = "harness"


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything. validation: the samples that all five arms answer; test: further ones of the harness."""

    rows: int
    validation: int
    test: int
    epochs: int
    shots: int


# On two quiet cores a round of all contestants takes some four minutes with the first, and seven with the second.
SIZES = {"demo": Size(320, 100, 50, 3, 4), "random": Size(64, 32, 32, 3, 4)}


@dataclass(frozen=True, slots=True)
class Material:
    """What all contestants start from. folder: with the harness's task in `task` and the same as the peers read it."""

    folder: Path
    model: Path
    task: TaskSpec
    size: Size
    threads: int

    @property
    def samples(self) -> Mapping[str, Sequence[Sample]]:
        """Samples by split, as the harness reads them."""
        dataset = read(self.task, self.folder / "task", drop_bad=False)
        return {split: dataset.split(split) for split in ("train", "validation", "test")}

    @property
    def arms(self) -> tuple[str, ...]:
        """The rungs that are measured, in order."""
        return ("base-0shot", f"base-{self.size.shots}shot", *(f"checkpoint{i + 1}" for i in range(self.size.epochs)))

    @property
    def environment(self) -> Mapping[str, str]:
        """Of every process of every contestant: nothing from a network, and the same threads."""
        return {
            "OMP_NUM_THREADS": str(self.threads),
            "MKL_NUM_THREADS": str(self.threads),
            "OMP_WAIT_POLICY": "PASSIVE",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": str(_ROOT),
        }


@dataclass(frozen=True, slots=True)
class Climb:
    """One contestant, once: what it took, in which parts, exact_match by arm, and the prompts by arm as it says."""

    measured: Measured
    parts: Mapping[str, Measured]
    scores: Mapping[str, float]
    prompts: Mapping[str, Sequence[str]]


Contestant = Callable[[Material, Path], Climb]


def contestants(batch_size: int) -> Mapping[str, Contestant]:
    """All by name; the harness first. batch_size: of lm-eval where it may be chosen."""
    quick = {"gradient_checkpointing": False, "train_sampling_strategy": "group_by_length", "save_only_model": True}
    return {
        HARNESS: harness,
        "TRL, then lm-eval five times: defaults": partial(processes, config={}, batch_size=1),
        "the same, strongest settings": partial(processes, config=quick, batch_size=batch_size),
        "the same in one process": partial(one_process, config=quick, batch_size=batch_size),
    }


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print tables, write the results after every round: a run that is stopped leaves what it has."""
    asked = _arguments(words)
    given = {key: value for key in Size.__slots__ if (value := getattr(asked, key)) is not None}
    size = replace(SIZES.get(asked.model, SIZES["random"]), **given)
    out = asked.out or RESULTS / f"ladder-{Path(asked.model).name}.json"
    climbing = {
        name: climb
        for name, climb in contestants(asked.batch_size).items()
        if name == HARNESS or any(fnmatchcase(name, pattern) for pattern in asked.only)
    }
    with tempfile.TemporaryDirectory() as scratch:
        material = material_of(Path(scratch) / "material", asked.task, asked.model, size, asked.threads)
        same_rows = trains_on_the_same(material, Path(scratch))
        for climbs in rounds(climbing, material, asked.rounds, Path(scratch)):
            found = {"same_training_rows": same_rows, "contestants": lines(material, climbs)}
            write(out, _settings(asked, material), _LIBRARIES, found)
        sys.stdout.write(f"{times(climbs)}\n\n{scores(material, climbs)}\n")


def rounds(
    climbing: Mapping[str, Contestant], material: Material, n: int, scratch: Path
) -> Iterator[dict[str, list[Climb]]]:
    """After each round of all in turn, all climbs so far."""
    climbs: dict[str, list[Climb]] = {name: [] for name in climbing}
    for i in range(n):
        for number, (name, climb) in enumerate(climbing.items()):
            folder = _fresh(scratch / f"{i}-{number}")
            climbs[name].append(climb(material, folder))
            shutil.rmtree(folder)
            took = climbs[name][-1].measured
            sys.stderr.write(f"{i + 1}/{n} {name}: {took.wall_s:.1f} s, {took.cpu_s:.1f} CPU seconds\n")
        yield climbs


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo", help="demo (2 million parameters), random (22 million), or a folder")
    parser.add_argument(
        "--task", default="headlines", choices=("headlines", "orders", "tickets"), help="rows like its own"
    )
    parser.add_argument("--rounds", type=int, default=5, help="times that all climb in turn")
    parser.add_argument(
        "--only", nargs="+", default=["*"], help="peers by name, such as '*one process'; and the harness"
    )
    parser.add_argument("--threads", type=int, default=1, help="of every process; 1 gives the steadiest ratios")
    parser.add_argument("--batch-size", type=int, default=32, help="of lm-eval in its strongest settings")
    parser.add_argument("--rows", type=int, help="training rows")
    parser.add_argument("--validation", type=int, help="samples that every arm answers")
    parser.add_argument("--test", type=int, help="further samples that the harness asks two baselines and its choice")
    parser.add_argument("--epochs", type=int, help="and checkpoints")
    parser.add_argument("--shots", type=int, help="of the few-shot baseline")
    parser.add_argument("--out", type=Path, help="results; benchmarks/results/ladder-MODEL.json if left out")
    return parser.parse_args(words)


def material_of(folder: Path, task: str, model: str, size: Size, threads: int) -> Material:
    """Everything on disk: the model if it is random, the task as the harness reads it and as the peers do."""
    (folder / "task").mkdir(parents=True)
    spec = _task_spec(task, size)
    (folder / "task" / "task.toml").write_text(_toml(spec), encoding="utf-8")
    _write_rows(folder / "task", task, size)
    material = Material(folder, _model(model, folder / "model"), spec, size, threads)
    _write_for_peers(material)
    return material


def _model(name: str, folder: Path) -> Path:
    if name == "demo":
        return DEMO_FOLDER
    if name == "random":
        from benchmarks.material import write_model

        return write_model(folder)
    return Path(name).resolve()


def _task_spec(name: str, size: Size) -> TaskSpec:
    """The shipped task with one few-shot draw, exact_match, and the tuning's settings. No warm-up: libraries differ."""
    document: Any = dict(read_toml(find_task(name) / "task.toml"))
    return TaskSpec.model_validate(
        {
            "name": _TASK,
            "data": {**document["data"], **{split: f"{split}.jsonl" for split in ("train", "validation", "test")}},
            "prompting": {**document["prompting"], "shots": [0, size.shots], "draws": 1},
            "generation": document["generation"],
            "metrics": {"primary": "exact_match"},
            "trainer": {
                "epochs": size.epochs,
                "lr": _LR,
                "rank": _RANK,
                "alpha": _ALPHA,
                "dropout": 0.0,
                "batch_rows": _BATCH_ROWS,
                "warmup": 0.0,
            },
        }
    )


def _toml(spec: TaskSpec) -> str:
    """The spec as a task.toml, without what is left at its default. Strings, numbers and lists of JSON are TOML's."""
    document = spec.model_dump(mode="json", exclude_unset=True)
    lines = [f"name = {json.dumps(document.pop('name'))}"]
    for section, values in document.items():
        lines += [f"\n[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _write_rows(folder: Path, task: str, size: Size) -> None:
    """Rows drawn as those of the shipped task are, by another seed; no two share an input or 13 words of it."""
    shipped, dice, seen = TASKS[task], Dice(f"{_TASK}/{task}"), set[str]()
    for split in ("train", "validation", "test"):
        rows: list[dict[str, str]] = []
        while len(rows) < getattr(size, "rows" if split == "train" else split):
            row = shipped.draw(dice)
            text = shipped.prompt.format(**row)
            traces = word_runs(text) | {folded(text)}
            if seen.isdisjoint(traces):
                seen |= traces
                rows.append({"id": f"{split}-{len(rows):05d}", **row})
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def _write_for_peers(material: Material) -> None:
    """The same rows as conversations for TRL, and as a task for lm-eval, whose shots are those of the harness."""
    samples = material.samples
    training = [
        {
            "prompt": [*_system(material), {"role": "user", "content": sample.question}],
            "completion": [{"role": "assistant", "content": sample.references[0]}],
        }
        for sample in samples["train"]
    ]
    folder = material.folder / "peer"
    folder.mkdir()
    _write_lines(folder / "train.jsonl", training)
    _write_lines(folder / "samples.jsonl", [_document(sample) for sample in samples["validation"]])
    # JSON is YAML.
    (folder / f"{_TASK}.yaml").write_text(
        json.dumps(_lm_eval_task(material, samples, folder), indent=1), encoding="utf-8"
    )


def _lm_eval_task(material: Material, samples: Mapping[str, Sequence[Sample]], folder: Path) -> dict[str, object]:
    generation = material.task.generation
    return {
        "task": _TASK,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "samples.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "target_delimiter": "",
        "fewshot_config": {"sampler": "first_n", "samples": [_document(shot) for shot in shots_of(material, samples)]},
        # The end of a turn ends generation without being named.
        "generation_kwargs": {"until": [], "max_gen_toks": generation.max_tokens, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }


def shots_of(material: Material, samples: Mapping[str, Sequence[Sample]]) -> tuple[Sample, ...]:
    """The shots that the harness puts before every sample of validation."""
    pool = ShotPool(samples["train"], seed=0)
    drawn = [pool.shots(sample, k=material.size.shots, draw=0) for sample in samples["validation"]]
    if any(shots != drawn[0] for shots in drawn):
        raise ValueError("a sample has shots of its own, which lm-eval's first_n cannot give it")
    return drawn[0]


def _document(sample: Sample) -> dict[str, str]:
    return {"question": sample.question, "answer": sample.references[0]}


def _system(material: Material) -> list[dict[str, str]]:
    return [{"role": "system", "content": material.task.prompting.system or ""}]


def _write_lines(file: Path, rows: Sequence[Mapping[str, object]]) -> None:
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def harness(material: Material, folder: Path) -> Climb:
    """The user's one command, with everything that a run does by default."""
    words = [f"task={material.folder / 'task'}", f"model={material.model}", "model.dtype=float32", "model.device=cpu"]
    command = [sys.executable, "-m", "harness", "run", *words, f"out={folder / 'runs'}"]
    measured = in_child(command, environment=material.environment, folder=folder)
    (result,) = (folder / "runs").glob("*/*/result.json")
    return Climb(measured, {"all": measured}, scores_of_harness(json.loads(result.read_text(encoding="utf-8"))), {})


def scores_of_harness(result: Mapping[str, Any]) -> dict[str, float]:
    """exact_match on validation by arm, checkpoints numbered."""
    found = [record for record in result["evaluations"] if record["split"] == "validation"]
    tuned = sorted((record for record in found if record["step"] is not None), key=lambda record: record["step"])
    named = {record["arm"]: record for record in found if record["step"] is None}
    named |= {f"checkpoint{i}": record for i, record in enumerate(tuned, start=1)}
    return {
        arm: next(float(each["value"]) for each in record["estimates"] if each["metric"] == "exact_match")
        for arm, record in named.items()
    }


def processes(material: Material, folder: Path, *, config: Mapping[str, object], batch_size: int) -> Climb:
    """One process that tunes and five of lm-eval's command."""
    environment = {**material.environment, "HF_DATASETS_CACHE": str(folder / "datasets")}
    settings = _write_settings(material, folder, config)
    command = [sys.executable, "-m", "benchmarks.peers.tune", str(settings)]
    parts = {"tuning": in_child(command, environment=environment, folder=folder)}
    for arm, (shots, adapter) in rungs(material, folder).items():
        command = lm_eval(material, shots, adapter, batch_size, folder / "results" / arm)
        parts[arm] = in_child(command, environment=environment, folder=folder)
    return _climb_of_peer(parts, folder)


def one_process(material: Material, folder: Path, *, config: Mapping[str, object], batch_size: int) -> Climb:
    """All of it by one script that keeps the model."""
    environment = {**material.environment, "HF_DATASETS_CACHE": str(folder / "datasets")}
    more = {
        "tasks": str(material.folder / "peer"),
        "task": _TASK,
        "system": material.task.prompting.system,
        "shots": material.size.shots,
        "batch_size": batch_size,
        "results": str(folder / "results"),
    }
    settings = _write_settings(material, folder, config, more)
    command = [sys.executable, "-m", "benchmarks.peers.whole", str(settings)]
    return _climb_of_peer({"all": in_child(command, environment=environment, folder=folder)}, folder)


def rungs(material: Material, folder: Path) -> dict[str, tuple[int, Path | None]]:
    """Arm -> shots and adapter. The checkpoint folders are named by step, and there are as many as epochs."""
    steps = -(-material.size.rows // _BATCH_ROWS)
    bases = {f"base-{k}shot": (k, None) for k in (0, material.size.shots)}
    tuned = {
        f"checkpoint{i}": (0, folder / "checkpoints" / f"checkpoint-{i * steps}")
        for i in range(1, material.size.epochs + 1)
    }
    return {**bases, **tuned}


def lm_eval(material: Material, shots: int, adapter: Path | None, batch_size: int, out: Path) -> list[str]:
    """The command of one evaluation."""
    model = f"pretrained={material.model},dtype=float32" + (f",peft={adapter}" if adapter else "")
    words = ["--model", "hf", "--model_args", model, "--device", "cpu", "--batch_size", str(batch_size)]
    words += ["--tasks", _TASK, "--include_path", str(material.folder / "peer"), "--num_fewshot", str(shots)]
    words += [
        "--apply_chat_template",
        "--fewshot_as_multiturn",
        "--system_instruction",
        material.task.prompting.system or "",
    ]
    return [sys.executable, "-m", "lm_eval", "run", *words, "--output_path", str(out), "--log_samples"]


def _write_settings(
    material: Material, folder: Path, config: Mapping[str, object], more: Mapping[str, object] | None = None
) -> Path:
    file = folder / "settings.json"
    file.write_text(json.dumps({**_settings_of_tune(material, folder, config), **(more or {})}), encoding="utf-8")
    return file


def _settings_of_tune(material: Material, folder: Path, config: Mapping[str, object]) -> dict[str, object]:
    """The harness's settings in TRL's words, and else TRL's defaults, but for the number format."""
    return {
        "model": str(material.model),
        "data": str(material.folder / "peer" / "train.jsonl"),
        "out": str(folder / "checkpoints"),
        "lora": {
            "r": _RANK,
            "lora_alpha": _ALPHA,
            "lora_dropout": 0.0,
            "target_modules": "all-linear",
            "task_type": "CAUSAL_LM",
        },
        "config": {
            "model_init_kwargs": {"dtype": "float32"},
            "num_train_epochs": material.size.epochs,
            "per_device_train_batch_size": _BATCH_ROWS,
            "learning_rate": _LR,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 0,
            "save_strategy": "epoch",
            "bf16": False,
            "use_cpu": True,
            "report_to": "none",
            **config,
        },
    }


def _climb_of_peer(parts: Mapping[str, Measured], folder: Path) -> Climb:
    arms = sorted(path for path in (folder / "results").iterdir() if path.is_dir())
    found = {arm.name: score_of_lm_eval(arm) for arm in arms}
    return Climb(total(list(parts.values())), parts, found, {arm.name: prompts_of_lm_eval(arm) for arm in arms})


def score_of_lm_eval(folder: Path) -> float:
    """exact_match in the one results file below a folder that lm-eval wrote to."""
    (file,) = folder.rglob("results*.json")
    return float(json.loads(file.read_text(encoding="utf-8"))["results"][_TASK]["exact_match,none"])


def prompts_of_lm_eval(folder: Path) -> tuple[str, ...]:
    """What the model was given for each sample, in the samples' order."""
    (file,) = folder.rglob(f"samples_{_TASK}*.jsonl")
    samples = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return tuple(sample["arguments"]["gen_args_0"]["arg_0"] for sample in samples)


def prompts_of_harness(material: Material) -> Mapping[int, tuple[str, ...]]:
    """Shots -> the prompt of each sample of validation, control tokens spelled out."""
    samples = material.samples
    renderer = Renderer(load_tokenizer(material.model, None, thinking=False), material.task.prompting)
    shots = shots_of(material, samples)
    return {
        k: tuple(renderer.prompt_text(sample, shots[:k]) for sample in samples["validation"])
        for k in (0, material.size.shots)
    }


def same_prompts(material: Material, climb: Climb) -> bool:
    """Whether a peer asked every arm exactly what the harness asks it."""
    expected = prompts_of_harness(material)
    few = f"base-{material.size.shots}shot"
    return set(climb.prompts) == set(material.arms) and all(
        tuple(prompts) == expected[material.size.shots if arm == few else 0] for arm, prompts in climb.prompts.items()
    )


def trains_on_the_same(material: Material, scratch: Path) -> bool:
    """Whether SFTTrainer's rows are the harness's: the same token ids, and loss on the same ones."""
    folder = _fresh(scratch / "rows")
    settings = _write_settings(material, folder, {})
    rows = folder / "rows.json"
    command = [sys.executable, "-m", "benchmarks.peers.tune", str(settings), "--rows", str(rows)]
    in_child(
        command, environment={**material.environment, "HF_DATASETS_CACHE": str(folder / "datasets")}, folder=folder
    )
    return bool(json.loads(rows.read_text(encoding="utf-8")) == rows_of_harness(material))


def rows_of_harness(material: Material) -> list[dict[str, list[int]]]:
    """Token ids and loss mask of every training row."""
    renderer = Renderer(load_tokenizer(material.model, None, thinking=False), material.task.prompting)
    rows = [renderer.train_row(sample) for sample in material.samples["train"]]
    return [{"ids": list(row.ids), "loss": [int(counts) for counts in row.loss]} for row in rows]


def times(climbs: Mapping[str, Sequence[Climb]]) -> str:
    """Medians, and the ratios to the harness within a round."""
    ours = [climb.measured for climb in climbs[HARNESS]]
    rows = []
    for name, climbed in climbs.items():
        own = [climb.measured for climb in climbed]
        middle = median_of(own)
        ratios = [f"{faster_by(ours, own, clock):.2f}" for clock in ("wall_s", "cpu_s")]
        rows.append([name, f"{middle.wall_s:.1f}", f"{middle.cpu_s:.1f}", f"{middle.peak_mib or 0:.0f}", *ratios])
    return table(["", "wall s", "CPU s", "peak MiB", "harness faster by", "by CPU time"], rows)


def scores(material: Material, climbs: Mapping[str, Sequence[Climb]]) -> str:
    """exact_match on validation by arm, medians, and whether the prompts were the harness's."""
    rows = []
    for name, climbed in climbs.items():
        values = [f"{median(climb.scores[arm] for climb in climbed):.3f}" for arm in material.arms]
        asked = "" if name == HARNESS else "yes" if all(same_prompts(material, climb) for climb in climbed) else "no"
        rows.append([name, *values, asked])
    return table(["exact_match", *material.arms, "same prompts"], rows)


def lines(material: Material, climbs: Mapping[str, Sequence[Climb]]) -> list[dict[str, object]]:
    """Every contestant's medians, ratios and rounds."""
    ours = [climb.measured for climb in climbs[HARNESS]]
    return [
        {
            "name": name,
            "median": median_of([climb.measured for climb in climbed]),
            "harness_faster_by": faster_by(ours, [climb.measured for climb in climbed]),
            "harness_faster_by_cpu": faster_by(ours, [climb.measured for climb in climbed], "cpu_s"),
            "same_prompts": name == HARNESS or all(same_prompts(material, climb) for climb in climbed),
            "rounds": [{"measured": c.measured, "parts": c.parts, "exact_match": c.scores} for c in climbed],
        }
        for name, climbed in climbs.items()
    ]


def _settings(asked: argparse.Namespace, material: Material) -> dict[str, object]:
    """What was asked; no path."""
    return {
        "model": Path(asked.model).name,
        "rows_like": asked.task,
        **asdict(material.size),
        "rows_a_step": _BATCH_ROWS,
        "steps": -(-material.size.rows // _BATCH_ROWS) * material.size.epochs,
        "max_tokens": material.task.generation.max_tokens,
        "rank": _RANK,
        "dtype": "float32",
        "threads": material.threads,
        "lm_eval_batch_size": asked.batch_size,
    }


def _fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}\n{error.output}")
