"""That a checkpoint is on in vLLM, and that it leaves its neighbours alone: adapters can load and have no effect, and
some of vLLM's kernels give the base's requests the adapter beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.core.errors import EnvironmentFault
from harness.core.types import Checkpoint, Failure
from harness.models.vllm.adapters import Adapter
from harness.models.vllm.asking import Ids, LogProbs, answers, likeliest, next_token, only, told
from harness.models.vllm.engine import Engine, Question

# Likeliest next tokens that are compared.
_COMPARED = 20
# Of log-probabilities: what two passes over the same weights differ by anyway, and how far company may move them.
_EPSILON = 1e-6
_DRIFT = {"float32": 1e-3, "bfloat16": 0.5, "float16": 0.1}


def base_log_probs(engine: Engine, probes: Sequence[Ids]) -> list[LogProbs]:
    """Of the likeliest tokens behind each probe, by the model of the engine."""
    return _asked(engine, [next_token(ids, None, likeliest(_COMPARED)) for ids in probes])


def moved_by(
    engine: Engine, adapter: Adapter, probes: Sequence[Ids], before: Sequence[LogProbs]
) -> tuple[float, float]:
    """How far an adapter moves what the base said before, and how far its company in the batch moves the base."""
    mixed = [
        next_token(ids, on, only([*said]))
        for ids, said in zip(probes, before, strict=True)
        for on in (None, adapter, None)
    ]
    found = _asked(engine, mixed)
    return _distance(before, found[1::3]), max(_distance(before, found[0::3]), _distance(before, found[2::3]))


def moved_by_full(engine: Engine, probes: Sequence[Ids], before: Sequence[LogProbs]) -> float:
    """How far the model of the engine is from what the base said."""
    asked = [next_token(ids, None, only([*said])) for ids, said in zip(probes, before, strict=True)]
    return _distance(before, _asked(engine, asked))


def check(checkpoint: Checkpoint, n_probes: int, change: float, drift: float, dtype: str) -> None:
    """EnvironmentFault E-ADAPTER unless the change is an effect, and the base in its company is still the base."""
    if not drift <= _DRIFT[dtype]:
        raise EnvironmentFault(
            f"vLLM mixes its requests up: beside checkpoint {checkpoint.name} the base model's own log-probabilities "
            f"move by {drift:g}",
            fix="backend=hf",
            code="E-ADAPTER",
        )
    if not max(_EPSILON, drift) < change < math.inf:
        raise EnvironmentFault(
            f"adapter has no effect in vLLM: checkpoint {checkpoint.name} moves the log-probabilities behind "
            f"{n_probes} prompts by at most {change:g}",
            fix="backend=hf; if it has no effect there either, train longer or with a larger trainer.lr",
            code="E-ADAPTER",
        )


def _asked(engine: Engine, questions: Sequence[Question]) -> list[LogProbs]:
    named = {str(number): question for number, question in enumerate(questions)}
    found = {name: {} if isinstance(said, Failure) else said for name, said in answers(engine, named, told)}
    return [found[name] for name in named]


def _distance(before: Sequence[LogProbs], after: Sequence[LogProbs]) -> float:
    """The largest difference of a log-probability; nan or infinite where one is missing or is not finite itself."""
    distances = [
        abs(value - later.get(token, math.nan))
        for earlier, later in zip(before, after, strict=True)
        for token, value in earlier.items()
    ]
    return math.nan if any(map(math.isnan, distances)) else max(distances, default=0.0)
