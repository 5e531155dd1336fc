"""Choosing the next token from logits, each row by its own rules and its own random numbers.

Because no row looks at another, and the random numbers depend on the prompt and the seed alone, what a request gets
does not depend on the batch it travels in.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from harness.core.types import Request, Sampling


def generator(request: Request) -> np.random.Generator:
    """Random numbers of one request: from its seed and its prompt."""
    digest = hashlib.sha256(repr((request.sampling.seed, request.ids)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def choose(logits_V: Tensor, seen: list[int], sampling: Sampling, rng: np.random.Generator) -> int:
    """The next token of one row. seen: every token so far, prompt included, for the repetition penalty.

    Greedy at temperature 0, the lowest id winning ties. Otherwise as transformers orders it: penalty, temperature,
    top_k, top_p, then one draw, in float64.
    """
    logits_V = _penalised(logits_V.float(), seen, sampling.repetition_penalty)
    if sampling.temperature == 0:
        return int(logits_V.argmax())
    return _draw(logits_V.cpu().numpy().astype(np.float64) / sampling.temperature, sampling, rng)


def is_plain_greedy(sampling: Sampling) -> bool:
    """Whether the next token is simply the likeliest, so that a whole batch can choose at once."""
    return sampling.temperature == 0 and sampling.repetition_penalty == 1.0


def _penalised(logits_V: Tensor, seen: list[int], penalty: float) -> Tensor:
    """Keskar et al. 2019: a seen token's logit is divided by the penalty if positive, multiplied if negative."""
    if penalty == 1.0:
        return logits_V
    index = torch.tensor(sorted(set(seen)), device=logits_V.device)
    scores = logits_V[index]
    return logits_V.index_copy(0, index, torch.where(scores > 0, scores / penalty, scores * penalty))


def _draw(logits_V: np.ndarray[tuple[int], np.dtype[np.float64]], sampling: Sampling, rng: np.random.Generator) -> int:
    order = np.argsort(-logits_V, kind="stable")
    if sampling.top_k:
        order = order[: sampling.top_k]
    weights = np.exp(logits_V[order] - logits_V[order[0]])
    cumulative = np.cumsum(weights / weights.sum())
    # The smallest set of tokens that reaches top_p; the likeliest one always belongs to it.
    n_kept = int(np.searchsorted(cumulative, sampling.top_p - 1e-12)) + 1 if sampling.top_p < 1 else len(order)
    kept = cumulative[:n_kept]
    return int(order[min(int(np.searchsorted(kept, rng.random() * kept[-1], side="right")), len(kept) - 1)])
