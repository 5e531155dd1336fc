"""Labels of people that do not exist, for judges that imitate them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from harness.autorater.labels import export_labels
from harness.core.judging import Label
from harness.core.protocols import Judge, JudgeContext
from judges.synthetic import kind as synthetic

WORDS = (
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "flint",
    "grove",
    "heron",
    "ivory",
    "juniper",
    "kestrel",
    "linden",
    "maple",
    "nectar",
    "olive",
    "pebble",
    "quartz",
    "raven",
    "sorrel",
    "thistle",
    "umber",
    "violet",
    "willow",
    "yarrow",
    "zephyr",
    "acorn",
    "basil",
    "clover",
    "dahlia",
    "elder",
)


def labels(
    n: int = 100,
    *,
    kind: Literal["likert", "pass_fail", "pair"] = "likert",
    annotators: int = 1,
    systems: tuple[str, ...] = ("base", "tuned"),
    seed: int = 0,
) -> list[Label]:
    """n prompts; every system's answer to each, or one pair a prompt in either order, judged by every annotator."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        shared = rng.normal() * 0.5
        answers = {name: " ".join(rng.choice(WORDS, size=rng.integers(6, 14))) + f" {i} {name}" for name in systems}
        quality = {name: shared + rng.normal() for name in systems}
        shown = [(name,) for name in systems] if kind != "pair" else [systems[:2][:: 1 if i % 2 else -1]]
        for names in shown:
            for a in range(annotators):
                felt = [quality[name] + 0.3 * rng.normal() for name in names]
                found.append(
                    Label(
                        id=f"{i} {'-'.join(names)} {a}",
                        kind=kind,
                        criterion="help",
                        value=_value(kind, felt),
                        annotator=f"annotator {a}",
                        question=f"Question {i}?",
                        answers=tuple(answers[name] for name in names),
                        systems=names,
                        references=(answers[names[0]],),
                    )
                )
    return found


def _value(kind: str, felt: list[float]):
    if kind == "pass_fail":
        return int(felt[0] > 0)
    if kind == "likert":
        return int(np.clip(np.round(3 + 1.1 * felt[0]), 1, 5))
    apart = felt[0] - felt[1]
    return "tie" if abs(apart) < 0.3 else "first" if apart > 0 else "second"


def imitator(found: list[Label], folder: Path, **options) -> Judge:
    """The synthetic judge of these labels."""
    export_labels(found, folder / "people.jsonl")
    return synthetic.create(context(found[0].kind, folder, labels="people.jsonl", **options))


def context(kind, folder: Path = Path(), **options) -> JudgeContext:
    """Of a judge with these options."""
    return JudgeContext("judge", "help", "", kind, 5, options, folder)
