"""Any metric of Hugging Face `evaluate`, as `hf:<name or path>`: the author's own code, scored anew on each resample.

The code runs as it is: use metrics whose authors you trust. Its hash stands in the signature.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np
from pydantic import Field, JsonValue

from harness.core.errors import HarnessError
from harness.core.protocols import AnyMetric
from harness.core.specs import Spec
from harness.core.types import FloatArray, Sample
from harness.data.display import escape, quote
from harness.metrics.context import VERSION, MetricContext, option_error, parse_options, toml_key
from harness.metrics.labels import label_of
from harness.metrics.mean import ratio
from harness.metrics.numeric import number_of, reference_numbers

if TYPE_CHECKING:
    from evaluate import EvaluationModule

Cell: TypeAlias = str | float | int
Column: TypeAlias = list[Cell | list[Cell]]
# Samples and completions as the metric wants them: predictions, and references or lists of them.
Encode: TypeAlias = Callable[[Sequence[Sample], Sequence[str]], tuple[list[Cell], Column]]

_PREFIX = "hf:"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_TIMEOUT_S = 5.0
_N_PROBES = 32
# The number of an answer that is no label, and of another one where that matters.
_OFF, _OFF_TOO = -1, -2
_TOLERANCE = 1e-9


class Options(Spec):
    """How the metric is called and which of its numbers is meant."""

    key: str | None = Field(None, description="which of the numbers it returns; needed where there are several")
    kwargs: dict[str, JsonValue] = Field(default_factory=dict, description="passed to compute")
    inputs: Literal["text", "labels", "numbers"] = Field("text", description="what it wants instead of texts")
    labels: tuple[str, ...] = Field((), description="inputs = labels: in the order of their numbers, 0 first")
    largest_error: float | None = Field(None, gt=0, description="inputs = numbers: what no number is off by")
    references: Literal["first", "list"] = Field("first", description="one reference, or a list of all of them")
    higher_is_better: bool = True
    best: float | None = Field(None, description="1 by default, 0 where lower is better")
    worst: float | None = Field(None, description="0 by default, 1 where lower is better")
    additive: bool = Field(False, description="it is the mean of single rows' scores: faster; checked each time")


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


def load(context: MetricContext, where: str) -> EvaluationModule:
    """A script by its path, else a name: from the local cache first, from the Hub only if it is not there."""
    import evaluate

    path = context.folder / where
    if path.is_file() or (path / f"{path.name}.py").is_file():
        return _loaded(context, where, lambda: evaluate.load(str(path.resolve()), keep_in_memory=True))
    if not _HUB_NAME.fullmatch(where) or where.endswith(".py"):
        raise option_error(context, f"there is no metric script at {quote(where)}", fix="correct the path")
    try:
        with _offline():
            return _loaded(context, where, lambda: evaluate.load(where, keep_in_memory=True))
    except FileNotFoundError:
        _check_hub(context.name, where)
    try:
        return _loaded(context, where, lambda: evaluate.load(where, keep_in_memory=True))
    except FileNotFoundError as err:
        raise HarnessError(
            f"there is no metric {where!r} on the Hub", fix="check its spelling at https://huggingface.co", code="E-HUB"
        ) from err


def _loaded(context: MetricContext, where: str, loading: Callable[[], EvaluationModule]) -> EvaluationModule:
    """What `loading` loads; HarnessError where the script needs a package or cannot be read."""
    try:
        return loading()
    except FileNotFoundError:
        raise
    except ImportError as err:
        raise HarnessError(
            f"metric {context.name!r} needs a package that is not installed: {escape(str(err), 200)}",
            fix="install it with pip",
            code="E-METRIC",
        ) from err
    except Exception as err:
        raise HarnessError(
            f"metric {context.name!r} cannot be loaded: {type(err).__name__}: {escape(str(err), 300)}",
            fix="correct the script, or choose another metric",
            code="E-METRIC",
        ) from err


@contextmanager
def _offline() -> Iterator[None]:
    """`evaluate` without the network: its one switch, a module's constant, is put back afterwards."""
    from evaluate import config

    before = config.HF_EVALUATE_OFFLINE
    config.HF_EVALUATE_OFFLINE = True
    try:
        yield
    finally:
        config.HF_EVALUATE_OFFLINE = before


def _check_hub(name: str, where: str) -> None:
    """HarnessError E-OFFLINE, within seconds, where the Hub cannot be reached or must not be."""
    from evaluate import config
    from huggingface_hub import constants, get_session

    try:
        if constants.HF_HUB_OFFLINE or config.HF_EVALUATE_OFFLINE:
            raise OSError("HF_HUB_OFFLINE or HF_EVALUATE_OFFLINE is set")
        get_session().head(constants.ENDPOINT, timeout=_TIMEOUT_S)
    except Exception as err:
        raise HarnessError(
            f"metric {name!r} is not in the local cache, and the Hub cannot be reached",
            fix=f"on a machine with network: python -c \"import evaluate; evaluate.load('{where}')\";"
            " or name the path of its script",
            code="E-OFFLINE",
            details=(escape(str(err) or type(err).__name__, 200),),
        ) from err


def _scorer(context: MetricContext, module: EvaluationModule, options: Options) -> Scorer:
    """The metric with its inputs' encoding; direct where that gives what compute() gives, on the references."""
    n_wanted = len(_wanted(context.samples))
    slow = Scorer(context.name, module, options, _encoding(context, options), n_wanted, direct=False)
    if options.inputs == "numbers" and _is_scale_free(context, slow):
        slow = replace(slow, encode=_encoding(context, options, opposed=True))
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


def _encoding(context: MetricContext, options: Options, *, opposed: bool = False) -> Encode:
    """Texts as the metric's cells. opposed: see `_silence`."""
    cell = _labels(context, options) if options.inputs == "labels" else _text
    if options.inputs == "numbers":
        cell = _numbers(context)
    silence = _silence(context, options, opposed=opposed) if options.inputs == "numbers" else None

    def encode(samples: Sequence[Sample], completions: Sequence[str]) -> tuple[list[Cell], Column]:
        wanted = [[cast(Cell, cell(reference)) for reference in sample.references] for sample in samples]
        found = [cell(completion) for completion in completions]
        firsts = [references[0] for references in wanted]
        predictions = cast("list[Cell]", found if silence is None else silence(found, cast("list[float]", firsts)))
        columns: Column = [*wanted] if options.references == "list" else [*firsts]
        if len(predictions) != len(columns):
            raise ValueError(f"{len(predictions)} completions for {len(columns)} samples")
        return predictions, columns

    return encode


def _text(text: str) -> Cell | None:
    # Arrow keeps UTF-8, which has no lone surrogates.
    return text.encode("utf-8", "replace").decode("utf-8")


def _labels(context: MetricContext, options: Options) -> Callable[[str], Cell | None]:
    """Labels as numbers from 0; -1 for what is no class of the metric's: wrong whatever is wanted."""
    places = {label.strip(): place for place, label in enumerate(_classes(context, options))}
    return lambda text: places.get(text.strip(), _OFF)


def _classes(context: MetricContext, options: Options) -> tuple[str, ...]:
    found = {label_of(text, None) or "" for s in context.samples for text in s.references}
    return options.labels or tuple(sorted(found))


def _numbers(context: MetricContext) -> Callable[[str], Cell | None]:
    """Texts as numbers, None for what is none; HarnessError where a reference is none."""
    for sample in context.samples:
        reference_numbers(sample, None, metric=context.name)
    return lambda text: number_of(text, None)


def _silence(
    context: MetricContext, options: Options, *, opposed: bool
) -> Callable[[list[Cell | None], list[float]], list[float]]:
    """What stands for answers that are no numbers: the largest error away, towards the other end of the range.

    opposed: for metrics that see no scale. A set distance would still rise with the references, so such an answer lies
    beyond all references, at the bottom where the reference is above these rows' mean and at the top where it is below.
    """
    numbers = [n for s in context.samples for n in reference_numbers(s, None, metric=context.name)] or [0.0]
    largest = options.largest_error or max(numbers) - min(numbers) or 1.0
    center, low, high = float(np.mean(numbers)), min(numbers) - largest, max(numbers) + largest

    def filled(found: list[Cell | None], references: list[float]) -> list[float]:
        middle = float(np.mean(references)) if opposed and references else center
        away = [low if wanted >= middle else high for wanted in references]
        if not opposed:
            away = [wanted - largest if wanted >= middle else wanted + largest for wanted in references]
        return [other if number is None else cast(float, number) for number, other in zip(found, away, strict=True)]

    return filled


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
    numbers = list(range(len(_classes(context, scorer.options))))
    named = f"set kwargs.labels = {json.dumps(numbers)}, the numbers of its classes"

    def score(second: int) -> float | None:
        def encode(rows: Sequence[Sample], texts: Sequence[str]) -> tuple[list[Cell], Column]:
            predictions, references = scorer.encode(rows, texts)
            return [_OFF, second, *predictions[2:]], references

        return _number(replace(scorer, encode=encode).outputs(samples, answers).get(key))

    try:
        one, other = score(_OFF), score(_OFF_TOO)
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
