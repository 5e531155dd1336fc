"""Whether an answer has the wanted form, said as a regular expression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from harness.core.errors import HarnessError
from harness.core.protocols import Metric
from harness.core.specs import Spec
from harness.core.types import FloatArray, Sample
from harness.data.display import quote
from harness.metrics.context import VERSION, MetricContext, located, option_error, parse_options, toml_key
from harness.metrics.mean import MeanMetric

if TYPE_CHECKING:
    from regex import Pattern

# Far above what an honest pattern needs for a long answer; nested repeats on hostile text would take years.
TIMEOUT_S = 5.0


class Options(Spec):
    """The form."""

    pattern: str = Field(min_length=1, description="the whole answer must match it, white space at the ends aside")


@dataclass(frozen=True, slots=True)
class PatternMetric(MeanMetric):
    """Share of completions that match; a pattern that takes too long is an error that names the sample."""

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """(N, 2): match and 1."""
        rows = [self._match(sample, completion) for sample, completion in zip(samples, completions, strict=True)]
        return np.column_stack([np.array(rows, dtype=np.float64), np.ones(len(rows))])

    def _match(self, sample: Sample, completion: str) -> float:
        try:
            return self.score(completion, sample.references)
        except TimeoutError as err:
            raise HarnessError(
                f"the pattern of metric {self.name!r} takes longer than {TIMEOUT_S:g} s on the answer to"
                f" {located(sample)}",
                fix="write it without repeats inside repeats, such as (a+)+, in"
                f" [metrics.options.{toml_key(self.name)}]; the answers are kept",
                code="E-OPTION",
            ) from err


def create(context: MetricContext) -> Metric:
    """Share of completions that match `pattern` from beginning to end; the references do not matter."""
    source = parse_options(context, Options).pattern
    pattern = _compiled(context, source)

    def score(completion: str, references: Sequence[str]) -> float:
        return float(pattern.fullmatch(completion.strip(), timeout=TIMEOUT_S) is not None)

    signature = f"regex_match|fullmatch|strip|pattern:{source.encode('unicode_escape').decode()}|{VERSION}"
    return PatternMetric(context.name, signature, score)


def _compiled(context: MetricContext, source: str) -> Pattern[str]:
    import regex

    try:
        return regex.compile(source)
    except regex.error as err:
        what = f"{quote(source)} is no regular expression: {err}"
        raise option_error(context, what, fix="correct pattern") from err
