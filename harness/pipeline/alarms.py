"""What is strange about an arm's outputs, in sentences: cheap signs of silent failures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import fmean

from harness.core.types import Completion, Outcome

# Above these, outputs look wrong enough to say so (silent failures S12, S18, S29).
_LENGTH_ALARM = 0.02
_SAME_OUTPUT_ALARM = 0.99
_LENGTH_RATIO_ALARM = (0.2, 5.0)
# How chat templates spell control tokens: <|im_end|>, <end_of_turn>, <0x0A>.
_CONTROL = re.compile(r"<\|[^|<>]{1,40}\|>|<(?:start|end)_of_turn>|<0x[0-9A-F]{2}>")


def alarms(draws: Sequence[Sequence[Outcome]], base: Sequence[Outcome] | None) -> tuple[str, ...]:
    """Sentences about an arm's outcomes. base: those of the untuned model with the same prompt, for a tuned arm."""
    completions = [o for draw in draws for o in draw if isinstance(o, Completion)]
    if not completions:
        return ("no sample was answered",)
    found = []
    n_cut = sum(o.finish_reason == "length" for o in completions)
    if n_cut > _LENGTH_ALARM * len(completions):
        found.append(f"{n_cut} of {len(completions)} completions ran into generation.max_tokens and were cut off")
    if all(not o.text.strip() for o in completions):
        found.append("every completion is empty")
    if n_control := sum(_CONTROL.search(o.text) is not None for o in completions):
        found.append(f"{n_control} of {len(completions)} completions spell out control tokens")
    if base is not None:
        found.extend(_against(draws[0], base))
    return tuple(found)


def mean_output_tokens(draws: Sequence[Sequence[Outcome]]) -> float:
    """Generated tokens per completion, over all draws; 0 without any."""
    return fmean([o.n_tokens for draw in draws for o in draw if isinstance(o, Completion)] or [0])


def _against(outcomes: Sequence[Outcome], base: Sequence[Outcome]) -> list[str]:
    """What is strange about a tuned arm's outputs beside those of the untuned model with the same prompt."""
    found = []
    same = sum(
        isinstance(a, Completion) and isinstance(b, Completion) and a.text == b.text
        for a, b in zip(outcomes, base, strict=True)
    )
    if same > _SAME_OUTPUT_ALARM * len(outcomes):
        found.append(f"{same} of {len(outcomes)} outputs equal the untuned model's: did tuning do anything?")
    before, after = mean_output_tokens([base]), mean_output_tokens([outcomes])
    low, high = _LENGTH_RATIO_ALARM
    if before and not low <= after / before <= high:
        found.append(f"outputs have {after:.0f} tokens on average, the untuned model's {before:.0f}")
    return found
