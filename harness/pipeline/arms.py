"""The candidates of a run: untuned ones by shots and wording, tuned ones by checkpoint."""

from __future__ import annotations

from harness.core.specs import PromptingSpec, RunSpec
from harness.core.types import Arm, Candidate, Checkpoint

# What the name of every untuned arm begins with.
BASE = "base"


def untuned_arms(spec: RunSpec) -> tuple[Arm, ...]:
    """The baselines: zero-shot in the task's own words first, then by shots, then each other wording likewise."""
    prompting = spec.task.prompting
    wordings: list[tuple[str, str | None]] = [(BASE, None)]
    wordings += [(f"{BASE}-instruction{i}", text) for i, text in enumerate(prompting.instructions, start=1)]
    shots = sorted(set(prompting.shots))
    return tuple(_untuned(name, text, k, prompting) for name, text in wordings for k in shots)


def _untuned(wording: str, instruction: str | None, k: int, prompting: PromptingSpec) -> Arm:
    name = f"{wording}-{k}shot"
    if k == 0:
        return Arm(name, (Candidate(name, instruction=instruction),))
    draws = range(prompting.draws)
    return Arm(
        name,
        tuple(Candidate(f"{name}-draw{d}", shots=k, draw=d, instruction=instruction) for d in draws),
    )


def tuned_arm(checkpoint: Checkpoint) -> Arm:
    """The arm of one checkpoint: zero-shot, as it was trained."""
    return Arm(checkpoint.name, (Candidate(checkpoint.name, checkpoint=checkpoint),))
