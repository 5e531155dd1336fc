"""Any metric of Hugging Face `evaluate`, as `hf:<name or path>`: the author's own code, scored anew on each resample.

The code runs as it is: use metrics whose authors you trust. Its hash stands in the signature.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import JsonValue

from harness.core.errors import HarnessError
from harness.core.protocols import AnyMetric
from harness.core.types import FloatArray, Sample
from harness.data.display import escape, quote
from harness.metrics.context import VERSION, MetricContext, option_error, parse_options, toml_key
from harness.metrics.mean import ratio
from harness.metrics.numeric import number_of
from harness.metrics.published_code import load
from harness.metrics.published_inputs import OFF_LABEL, Cell, Column, Encode, Options, classes, encoding

if TYPE_CHECKING:
    from evaluate import EvaluationModule

_PREFIX = "hf:"
_N_PROBES = 32
# Another answer that is no label, where two have to be told apart.
_OFF_TOO = OFF_LABEL - 1
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Scorer:
    """One loaded metric with its settings: texts in, one number out.

    n_wanted: how many different first references the task has. direct: whether `_compute` may be called on the encoded
    columns, without the detour through Arrow files.
    """

    name: str
    module: EvaluationModule
    options: Options
    encode: Encode
    n_wanted: int
    direct: bool

    def outputs(self, samples: Sequence[Sample], completions: Sequence[str]) -> Mapping[str, object]:
        """Everything the metric returns; HarnessError E-METRIC where it fails."""
        predictions, references = self.encode(samples, completions)
        try:
            found = (_direct if self.direct else _computed)(self.module, predictions, references, self.options.kwargs)
        except Exception as err:
            raise HarnessError(
                f"metric {self.name!r} failed on {len(samples)} rows: {type(err).__name__}: {escape(str(err), 300)}",
                fix="see its documentation for what it needs: inputs, references and kwargs in"
                f" [metrics.options.{toml_key(self.name)}]",
                code="E-METRIC",
            ) from err
        return found

    def score(self, key: str, samples: Sequence[Sample], completions: Sequence[str]) -> float:
        """The number under `key`; nan where it is undefined.

        Division by zero is how metrics say so (nothing predicted), and a ValueError where the rows lack a class that
        the task has: resamples and slices may be like that. Any other ValueError is about the answers, and an error:
        no number there would leave the answers unjudged.
        """
        try:
            value = _number(self.outputs(samples, completions).get(key))
        except HarnessError as err:
            undefined = isinstance(err.__cause__, ArithmeticError) or (
                isinstance(err.__cause__, ValueError) and len(_wanted(samples)) < self.n_wanted
            )
            if undefined:
                return float("nan")
            raise
        return float("nan") if value is None else value


@dataclass(frozen=True, slots=True)
class Published:
    """A published metric, scored anew for every resample."""

    name: str
    signature: str
    scorer: Scorer
    key: str
    higher_is_better: bool
    best: float
    worst: float
    caveats: tuple[str, ...] = ()

    def score(self, samples: Sequence[Sample], completions: Sequence[str]) -> float:
        """The metric's number on these rows; nan where it is undefined, and for no rows."""
        return self.scorer.score(self.key, samples, completions) if samples else float("nan")


@dataclass(frozen=True, slots=True)
class PublishedMean:
    """A published metric declared to be the mean of its rows' scores, which is checked on everything it measures."""

    name: str
    signature: str
    scorer: Scorer
    key: str
    higher_is_better: bool
    best: float
    worst: float
    caveats: tuple[str, ...] = ()

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """(N, 2): score and 1; HarnessError where the whole's score is not the mean of the rows'."""
        pairs = list(zip(samples, completions, strict=True))
        scores = [self.scorer.score(self.key, [sample], [completion]) for sample, completion in pairs]
        if scores:
            whole, mean = self.scorer.score(self.key, samples, completions), math.fsum(scores) / len(scores)
            if not abs(whole - mean) <= _TOLERANCE * max(1.0, abs(whole)):
                raise HarnessError(
                    f"metric {self.name!r} is declared additive, but scores {whole:g} on {len(scores)} answers whose"
                    f" own scores have the mean {mean:g}",
                    fix=f"remove additive from [metrics.options.{toml_key(self.name)}]",
                    code="E-OPTION",
                )
        return np.column_stack([np.array(scores, dtype=np.float64), np.ones(len(scores))])

    def value(self, totals: FloatArray) -> FloatArray:
        """Sum of scores by number of samples."""
        return ratio(totals[..., 0], totals[..., 1])

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """The scores."""
        return ratio(statistics[:, 0], statistics[:, 1])


def create(context: MetricContext) -> AnyMetric:
    """The metric behind "hf:<name or path>"; HarnessError where it cannot be had, called or understood."""
    options = parse_options(context, Options)
    where = context.name.removeprefix(_PREFIX)
    if where == context.name or not where:
        raise HarnessError(
            "the metric 'hf' stands for a published one and needs its name",
            fix='write "hf:" and a name on the Hub or the path of a script, such as "hf:rouge"',
            code="E-OPTION",
        )
    module = load(context, where)
    scorer = _scorer(context, module, options)
    key = _key(context, scorer)
    off_label = _off_label_caveats(context, scorer, key) if options.inputs == "labels" else ()
    up = options.higher_is_better
    best = float(up) if options.best is None else options.best
    worst = float(not up) if options.worst is None else options.worst
    if (best > worst) != up or best == worst:
        raise option_error(context, f"best is {best:g} and worst {worst:g}", fix="set best, worst and higher_is_better")
    kind = PublishedMean if options.additive else Published
    signature = _signature(where, module, options, key)
    return kind(context.name, signature, scorer, key, up, best, worst, (*_caveats(context, options), *off_label))


def _scorer(context: MetricContext, module: EvaluationModule, options: Options) -> Scorer:
    """The metric with its inputs' encoding; direct where that gives what compute() gives, on the references."""
    n_wanted = len(_wanted(context.samples))
    slow = Scorer(context.name, module, options, encoding(context, options), n_wanted, direct=False)
    if options.inputs == "numbers" and _is_scale_free(context, slow):
        slow = replace(slow, encode=encoding(context, options, opposed=True))
    fast = replace(slow, direct=True)
    samples, answers = _probes(context)
    expected = slow.outputs(samples, answers)
    try:
        found = fast.outputs(samples, answers)
    except HarnessError:
        return slow
    same = found.keys() == expected.keys() and all(
        _number(found[name]) == _number(value) for name, value in expected.items()
    )
    return fast if same else slow


def _probes(context: MetricContext) -> tuple[list[Sample], list[str]]:
    """A few samples from all over the data, half of them with each other's answers."""
    samples = list(context.samples[:: max(1, len(context.samples) // _N_PROBES)][:_N_PROBES])
    if not samples:
        raise option_error(context, "there is no sample to try it on", fix="give the task samples")
    shifted = [*samples[1:], samples[0]]
    return samples, [(s if i % 2 else t).references[0] for i, (s, t) in enumerate(zip(samples, shifted, strict=True))]


def _wanted(samples: Sequence[Sample]) -> set[str]:
    """The different first references."""
    return {sample.references[0].strip() for sample in samples}


def _is_scale_free(context: MetricContext, scorer: Scorer) -> bool:
    """Whether the metric gives answers on another scale the same numbers, as correlations do."""
    samples, answers = _probes(context)
    numbers = [number_of(answer, None) or 0.0 for answer in answers]
    scaled = [repr(3 * number + 7) for number in numbers]
    one, other = ([_number(value) for value in scorer.outputs(samples, texts).values()] for texts in (answers, scaled))
    return bool(one) and all(
        a is None or (b is not None and math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6))
        for a, b in zip(one, other, strict=True)
    )


def _key(context: MetricContext, scorer: Scorer) -> str:
    """The name of the number that is meant; HarnessError that lists them where that is not clear."""
    outputs = scorer.outputs(*_probes(context))
    numbers = [name for name, value in outputs.items() if _number(value) is not None]
    key = scorer.options.key
    if key is None and len(numbers) == 1:
        return numbers[0]
    if key is not None and _number(outputs.get(key)) is not None:
        return key
    known = ", ".join(quote(name, 40) for name in numbers) or "none"
    what = "it returns several numbers" if key is None and numbers else f"it returns no number {quote(str(key))}"
    raise option_error(context, f"{what}; numbers: {known}", fix="set key to one of them")


def _off_label_caveats(context: MetricContext, scorer: Scorer, key: str) -> tuple[str, ...]:
    """What the metric makes of answers that are no label: nothing, a class of their own, or an error.

    HarnessError where they raise, or where they become a class although the metric can be told its classes: tuned
    models answer so rarely and untuned ones often, so the two would be averaged over different classes.
    """
    samples, answers = _probes(context)
    # Two such answers: one more class where they are told apart, and only there.
    samples, answers = [samples[0], samples[0], *samples], ["", "", *answers]
    numbers = list(range(len(classes(context, scorer.options))))
    named = f"set kwargs.labels = {json.dumps(numbers)}, the numbers of its classes"

    def score(second: int) -> float | None:
        def encode(rows: Sequence[Sample], texts: Sequence[str]) -> tuple[list[Cell], Column]:
            predictions, references = scorer.encode(rows, texts)
            return [OFF_LABEL, second, *predictions[2:]], references

        return _number(replace(scorer, encode=encode).outputs(samples, answers).get(key))

    try:
        one, other = score(OFF_LABEL), score(_OFF_TOO)
    except HarnessError as err:
        only = f'{named}, or [1] for the second class alone, with kwargs.average = "micro" or "macro"'
        what = f"it fails on an answer that is no label: {escape(str(err.__cause__), 200)}"
        raise option_error(context, what, fix=f"{only}, or choose macro_f1 or f1 of this harness") from err
    if one is None or other is None or one == other or (math.isnan(one) and math.isnan(other)):
        return ()
    if "labels" in inspect.signature(scorer.module._compute).parameters and "labels" not in scorer.options.kwargs:
        raise option_error(context, "it counts answers that are no label as one more class", fix=named)
    return ("counts answers that are no label as one more class",)


def _direct(
    module: EvaluationModule, predictions: list[Cell], references: Column, kwargs: Mapping[str, JsonValue]
) -> dict[str, object]:
    """What compute() does, its seed included, with the columns made in memory."""
    import pyarrow
    from datasets.utils.py_utils import temp_seed

    columns = {"predictions": predictions, "references": references}
    features = module._infer_feature_from_batch(columns)
    table = pyarrow.Table.from_pydict(features.encode_batch(columns), schema=features.arrow_schema)
    with temp_seed(module.seed):
        found: dict[str, object] = module._compute(**{name: table[name].to_pylist() for name in columns}, **kwargs)
    return found


def _computed(
    module: EvaluationModule, predictions: list[Cell], references: Column, kwargs: Mapping[str, JsonValue]
) -> dict[str, object]:
    found: dict[str, object] = module.compute(predictions=predictions, references=references, **kwargs)
    return found


def _number(value: object) -> float | None:
    """A number, also numpy's and a list of one; None for everything else."""
    if isinstance(value, np.ndarray | list) and np.size(value) == 1 and not isinstance(value, str):
        value = np.asarray(value).ravel()[0].item()
    if isinstance(value, np.generic):
        value = value.item()
    return float(value) if isinstance(value, int | float) else None


def _signature(where: str, module: EvaluationModule, options: Options, key: str) -> str:
    """Name, settings, and the hash of the metric's code."""
    file = inspect.getsourcefile(type(module))
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12] if file else "unknown"
    kwargs = json.dumps(options.kwargs, sort_keys=True, separators=(",", ":"))
    name = Path(where).name
    mean = "|additive:declared-and-checked" if options.additive else ""
    inputs = options.inputs if not options.labels else f"labels[{','.join(map(quote, options.labels))}]"
    return (
        f"hf:{name}|key:{key}|kwargs:{kwargs}|inputs:{inputs}|refs:{options.references}|code:{digest}"
        f"|evaluate:{version('evaluate')}{mean}|{VERSION}"
    )


def _caveats(context: MetricContext, options: Options) -> Iterator[str]:
    if options.references == "first" and any(len(sample.references) > 1 for sample in context.samples):
        yield 'sees the first reference only; set references = "list" if it can take several'
    if not options.additive:
        yield "scored anew for every resample, so its intervals rest on fewer of them"
