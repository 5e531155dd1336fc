"""What a run may cost, and what it will cost at most."""

from __future__ import annotations

from dataclasses import dataclass

from harness.core.errors import BackendUnreachable


@dataclass(frozen=True, slots=True)
class Estimate:
    """Calls that some requests take, and tokens of prompts and answers that they cannot exceed."""

    calls: int
    tokens_at_most: int

    def __str__(self) -> str:
        return f"{self.calls:,} calls and {self.tokens_at_most:,} tokens"

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(self.calls + other.calls, self.tokens_at_most + other.tokens_at_most)


class Budget:
    """Calls and tokens of one start of the harness: what was begun is finished, nothing new is begun."""

    def __init__(self, max_calls: int | None, max_tokens: int | None) -> None:
        self.n_calls = 0
        self.n_tokens = 0
        self._max_calls = max_calls
        self._max_tokens = max_tokens

    def begin(self, *, is_check: bool = False) -> None:
        """Count a call that is about to be made; E-BUDGET where there may be none.

        is_check: it may always be made, or answers that were paid for would be lost.
        """
        for what, used, most in (
            ("calls", self.n_calls, self._max_calls),
            ("tokens", self.n_tokens, self._max_tokens),
        ):
            if most is not None and used >= most and not is_check:
                raise BackendUnreachable(
                    f"the budget is used up: {used:,} of {most:,} {what}",
                    fix=f"raise or drop backend.options.max_{what}; what was answered is kept and not asked again",
                    code="E-BUDGET",
                )
        self.n_calls += 1

    def spend(self, n_tokens: int) -> None:
        """Count what a call was billed, or may have been."""
        self.n_tokens += n_tokens
