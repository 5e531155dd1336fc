"""A metric from a file of the user's: `file.py:attr`, a `create(context)` or a plain function of one answer."""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import cast

import numpy as np

from harness.core.errors import HarnessError
from harness.core.protocols import AnyMetric
from harness.core.specs import Spec
from harness.core.types import FloatArray, Sample
from harness.data.display import escape
from harness.metrics.context import VERSION, MetricContext, located, parse_options, toml_key
from harness.metrics.mean import MeanMetric

_DESCRIBED = ("name", "signature", "higher_is_better", "best", "worst")
_ADDITIVE = ("measure", "value", "per_sample")
_SHAPES = "create(context) -> Metric, or score(completion, references) -> float"


class Options(Spec):
    """What a plain function's numbers mean; by default 0 to 1, higher is better."""

    higher_is_better: bool = True
    best: float | None = None
    worst: float | None = None


@dataclass(frozen=True, slots=True)
class OwnMean(MeanMetric):
    """The mean of a user's function; an error or a value that cannot be is reported with its sample."""

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """(N, 2): score and 1."""
        scores = [self._checked(s, c) for s, c in zip(samples, completions, strict=True)]
        return np.column_stack([np.array(scores, dtype=np.float64), np.ones(len(scores))])

    def _checked(self, sample: Sample, completion: str) -> float:
        fix = "mend the function; it must give every answer a number, also an empty or a broken one"
        with _guarded(self.name, f"failed on {located(sample)}", fix, self.score):
            score: object = self.score(completion, sample.references)
        number = _number(score)
        if not math.isfinite(number):
            what, fix = "which is no finite number", "return a float for every answer"
        elif not min(self.best, self.worst) <= number <= max(self.best, self.worst):
            what = f"outside {self.worst:g} (worst) to {self.best:g} (best)"
            fix = f"set worst and best in [metrics.options.{toml_key(self.name)}]"
        else:
            return number
        raise HarnessError(
            f"metric {self.name!r} returned {_shown(score)} for {located(sample)}, {what}", fix=fix, code="E-METRIC"
        )


class Signed:
    """A user's metric with the hash of its file in the signature: other code is another number.

    What it does is guarded: an error of its own, or a result that is none, is E-METRIC with the file and line.
    """

    def __init__(self, metric: AnyMetric, origin: str, digest: str) -> None:
        self._metric = metric
        self._origin = origin
        self.signature = f"{metric.signature}|{_file_signature(origin, digest)}"

    def __getattr__(self, name: str) -> object:
        found: object = getattr(self._metric, name)
        if not callable(found) or name not in (*_ADDITIVE, "score", "parts"):
            return found
        return partial(self._call, name, found)

    def _call(self, name: str, method: Callable[..., object], *given: object) -> object:
        with _guarded(self._origin, f"failed in {name}", "mend the metric", method):
            result = method(*given)
        if name == "measure":
            _check_statistics(result, cast("Sequence[Sample]", given[0]), self._origin)
        elif name == "score" and not isinstance(result, Real | np.bool_):
            raise _not_a_metric(self._origin, f"returned {_shown(result)} as its score, which is no number")
        return _number(result) if name == "score" else result


def _check_statistics(result: object, samples: Sequence[Sample], origin: str) -> None:
    """E-METRIC unless it is an array with one row of finite numbers a sample."""
    numbers = isinstance(result, np.ndarray) and result.dtype.kind in "biuf"
    if not isinstance(result, np.ndarray) or not numbers or result.ndim != 2 or len(result) != len(samples):
        found = f"an array of shape {result.shape}" if isinstance(result, np.ndarray) else type(result).__name__
        raise _not_a_metric(
            origin, f"measured {len(samples)} samples as {found}, not as an array of a row of numbers each"
        )
    for sample, row in zip(samples, result, strict=True):
        if not np.isfinite(row).all():
            raise _not_a_metric(origin, f"has a statistic of {located(sample)} that is no finite number")


@contextmanager
def _guarded(name: str, what: str, fix: str, called: object) -> Iterator[None]:
    """Whatever a user's code raises, SystemExit included, as E-METRIC with the line of that code."""
    try:
        yield
    except HarnessError:
        raise
    except (Exception, SystemExit) as err:
        frames = [frame for frame in traceback.extract_tb(err.__traceback__) if frame.filename != __file__]
        place = f"in {frames[-1].name}, line {frames[-1].lineno} of {escape(frames[-1].filename)}" if frames else None
        raise HarnessError(
            f"metric {name!r} {what}: {type(err).__name__}: {escape(str(err), 200)}",
            fix=fix,
            code="E-METRIC",
            details=(place or _place_of(called),),
        ) from err


def _place_of(called: object) -> str:
    """Where a function stands that could not even be called."""
    code = getattr(inspect.unwrap(cast("Callable[..., object]", called)), "__code__", None)
    if code is None:
        return f"calling {escape(type(called).__name__)}"
    return f"calling {code.co_name}, line {code.co_firstlineno} of {escape(code.co_filename)}"


def _number(value: object) -> float:
    """As a float; nan for what is no number or too large to be one."""
    try:
        return float(value) if isinstance(value, Real | np.bool_) else math.nan
    except (OverflowError, ValueError, TypeError):
        return math.nan


def _shown(value: object) -> str:
    """A value of unknown code, short; its kind where it cannot even be shown."""
    try:
        return escape(repr(value), 60)
    except Exception:  # digits beyond Python's limit, or a __repr__ that fails
        return f"a value of type {escape(type(value).__name__)}"


def adapt(attr: object, context: MetricContext, *, origin: str, digest: str) -> AnyMetric:
    """The metric that a user's object stands for; HarnessError E-METRIC where it is none.

    attr: create(context) -> Metric, told by its one parameter, or score(completion, references) -> float, whose mean is
    the metric (its options: higher_is_better, best, worst). origin: "metric.py:score", for the signature. digest:
    sha256 of the file.
    """
    n_parameters = _n_parameters(attr)
    if n_parameters == 1:
        return _created(cast("Callable[[MetricContext], object]", attr), context, origin, digest)
    if n_parameters == 2:
        return _plain(cast("Callable[[str, Sequence[str]], float]", attr), context, origin, digest)
    raise _not_a_metric(origin, f"is {type(attr).__name__}, not a function of one or two arguments")


def _created(create: Callable[[MetricContext], object], context: MetricContext, origin: str, digest: str) -> AnyMetric:
    fix = f"mend the function. One of one argument gets the context: {_SHAPES}"
    with _guarded(origin, "failed in create", fix, create):
        metric = create(context)
    missing = [name for name in _DESCRIBED if not hasattr(metric, name)]
    if not hasattr(metric, "score") or hasattr(metric, "measure"):
        missing += [name for name in _ADDITIVE if not hasattr(metric, name)]
    if missing:
        raise _not_a_metric(origin, f"made {type(metric).__name__}, which lacks {', '.join(missing)}")
    return cast(AnyMetric, Signed(cast(AnyMetric, metric), origin, digest))


def _plain(
    function: Callable[[str, Sequence[str]], float], context: MetricContext, origin: str, digest: str
) -> AnyMetric:
    options = parse_options(context, Options)
    up = options.higher_is_better
    best = float(up) if options.best is None else options.best
    worst = float(not up) if options.worst is None else options.worst
    if (best > worst) != up or best == worst:
        raise HarnessError(
            f"metric {context.name!r}: best is {best:g}, worst {worst:g}, and higher_is_better {str(up).lower()}",
            fix=f"correct them in [metrics.options.{toml_key(context.name)}]",
            code="E-OPTION",
        )
    signature = f"own|{_file_signature(origin, digest)}|mean|{worst:g}-{best:g}|{VERSION}"
    return OwnMean(context.name, signature, function, up, best, worst)


def _file_signature(origin: str, digest: str) -> str:
    return f"file:{origin}|sha256:{digest[:12]}"


def _n_parameters(attr: object) -> int | None:
    """Positional parameters without a default; None for what cannot be called or asked."""
    if not callable(attr):
        return None
    try:
        parameters = inspect.signature(attr).parameters.values()
    except (TypeError, ValueError):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is inspect.Parameter.empty for p in parameters)


def _not_a_metric(origin: str, what: str) -> HarnessError:
    return HarnessError(f"{origin!r} {what}", fix=f"write {_SHAPES}; see harness/metrics/README.md", code="E-METRIC")
