"""Everything that is known before anything is spent or written: the run's identity, its data, audit and plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import BaseModel, JsonValue

from harness import RESULTS_VERSION
from harness.audit import audit, droppable
from harness.autorater.configuration import ConfiguredJudge
from harness.core.errors import HarnessError
from harness.core.protocols import AnyMetric, Backend, BackendKind, Metric, Reporter, Selective, Trainer
from harness.core.records import AuditRecord, Finding
from harness.core.specs import JUDGE_PREFIX, RunSpec
from harness.core.types import Sample, Sampling, TokenRow
from harness.data import Dataset, read
from harness.metrics.context import MetricContext
from harness.pipeline.judging import JudgeMetric
from harness.pipeline.racing import require_additive
from harness.pipeline.rendering import Prompts, Rendered, from_bytes, long_shots, render, special_texts
from harness.prompting import Renderer, Renderers, ShotPool
from harness.store.cache import ContentCache
from harness.store.encoding import fingerprint

_DEFAULT_EFFECT = 0.02
# As a share of the metric's range; a smaller difference would need billions of samples.
_SMALLEST_SHARE = 1e-6
_N_TRIED = 4

MetricMaker = Callable[[MetricContext], AnyMetric]


@dataclass(frozen=True)
class Plugins:
    """The plug-ins of one run, resolved by name by the caller: the pipeline imports none of them.

    judges: those among the task's metrics, by their name there.
    sources: name -> sha256 of the user's files that they come from or read: other bytes are another run.
    folder: the task's, where relative paths among metrics' options start.
    """

    backend: BackendKind
    trainer: Trainer
    trainer_spec: BaseModel
    metrics: Mapping[str, MetricMaker]
    reporters: Mapping[str, Reporter]
    sources: Mapping[str, str]
    folder: Path
    judges: Mapping[str, ConfiguredJudge] = field(default_factory=dict)


@dataclass(frozen=True)
class Identified:
    """A run that has a name: its data read, its model's bytes hashed, nothing loaded."""

    spec: RunSpec
    dataset: Dataset
    model_identity: Mapping[str, JsonValue]
    run_id: str


@dataclass(frozen=True)
class Prepared:
    """A run that may begin: rendered, audited, counted."""

    spec: RunSpec
    dataset: Dataset
    run_id: str
    model_identity: Mapping[str, JsonValue]
    backend: Backend
    renderers: Renderers
    shots: ShotPool
    metrics: tuple[AnyMetric, ...]
    audit: AuditRecord
    train_rows: tuple[TokenRow, ...]
    validation_rows: tuple[TokenRow, ...]
    trainer_spec: BaseModel
    trainer_reasons: tuple[str, ...]
    # All samples as token ids by the key they are cached under, where the cache does not have them yet.
    fresh_rows: tuple[str, Rendered] | None = None

    @property
    def renderer(self) -> Renderer:
        """The renderer of the task's own words."""
        return self.renderers.own

    @property
    def generator(self) -> dict[str, JsonValue]:
        """All that decides what the model answers to given token ids, the checkpoint and the decoding aside."""
        return dict(self.backend.identity)

    @property
    def sampling(self) -> Sampling:
        """How every candidate decodes."""
        return _sampling(self.spec)


def _sampling(spec: RunSpec) -> Sampling:
    return Sampling(**spec.task.generation.model_dump(), seed=spec.seed)


def effect_of(spec: RunSpec, primary: AnyMetric) -> float:
    """What would be worth having in what decides: as the task says of its primary metric, or the default."""
    asked = spec.task.metrics
    stands_in = asked.primary.startswith(JUDGE_PREFIX) and not primary.name.startswith(JUDGE_PREFIX)
    return (None if stands_in else asked.smallest_effect) or default_effect(primary)


def default_effect(metric: AnyMetric) -> float:
    """What would be worth having where the task does not say: 2 % of the metric's range."""
    return _DEFAULT_EFFECT * abs(metric.best - metric.worst)


def identify(spec: RunSpec, plugins: Plugins, task_folder: Path) -> Identified:
    """Read the data, hash the model's files, and name the run by both and by what was asked.

    Where the rows stand and how they are written is not part of the name: what they say is, by its hash.
    """
    dataset = read(spec.task, task_folder, drop_bad=spec.drop_bad)
    identity = plugins.backend.identify(spec.model, spec.backend)
    facts: dict[str, JsonValue] = {
        "results_version": RESULTS_VERSION,
        "spec": _asked(spec),
        "data": dict(dataset.record.sha256),
        "model": dict(identity),
        "sources": dict(plugins.sources),
    }
    return Identified(spec, dataset, identity, f"{_short(spec)}-{fingerprint(facts)[:8]}")


def _asked(spec: RunSpec) -> dict[str, JsonValue]:
    document: dict[str, JsonValue] = spec.model_dump(mode="json")
    task = document["task"]
    assert isinstance(task, dict)
    return {**document, "task": {**task, "data": {"train_on": spec.task.data.train_on}}}


def prepare(identified: Identified, plugins: Plugins, renderings: ContentCache | None = None) -> Prepared:
    """Open the tokenizer, render every row, audit the data. Fatal findings are for the caller to raise.

    renderings: what earlier runs rendered; read here, written once the run has begun.
    """
    spec, dataset = identified.spec, identified.dataset
    _check_settings(spec, dataset)
    backend = plugins.backend.create(spec.model, spec.backend, thinking=spec.task.prompting.thinking)
    _check_order(spec, backend)
    renderers = Renderers(backend.tokenizer, spec.task.prompting, train_on_all=spec.task.data.train_on == "all")
    renderer = renderers.own
    _check_prompting(spec, backend)
    # With unreadable rows, what a metric says of the references would be about the wrong thing.
    unreadable = any(finding.severity == "fatal" for finding in dataset.findings)
    metrics = () if unreadable else make_metrics(spec, dataset, plugins)
    key = _rendering_key(spec, dataset, backend)
    known = None if renderings is None else renderings.get(key)
    rendered = render(dataset.samples, renderer) if known is None else from_bytes(known)
    record = _audit(spec, dataset, rendered, renderer, backend, metrics)
    if spec.drop_bad and (reasons := droppable(record)):
        dataset = dataset.without(reasons)
        record = _audit(spec, dataset, rendered, renderer, backend, metrics)
    shots = ShotPool(dataset.split("train"), seed=spec.seed)
    if not record.fatal:
        prompts = Prompts(renderer, shots, rendered.lengths)
        record = replace(record, findings=(*record.findings, *long_shots(spec, dataset, prompts, backend)))
    train_rows = tuple(rendered.rows[s.id] for s in dataset.split("train") if s.id in rendered.rows)
    trainer_spec, trainer_reasons = plugins.trainer.settle(train_rows, plugins.trainer_spec, identified.model_identity)
    if isinstance(backend, Selective):
        backend.require_servable(trainer_spec.model_dump(mode="json"), _sampling(spec))
    return Prepared(
        spec=spec,
        dataset=dataset,
        run_id=identified.run_id,
        model_identity=identified.model_identity,
        backend=backend,
        renderers=renderers,
        shots=shots,
        metrics=metrics,
        audit=record,
        train_rows=train_rows,
        validation_rows=tuple(rendered.rows[s.id] for s in dataset.split("validation") if s.id in rendered.rows),
        trainer_spec=trainer_spec,
        trainer_reasons=trainer_reasons,
        fresh_rows=(key, rendered) if known is None else None,
    )


def _rendering_key(spec: RunSpec, dataset: Dataset, backend: Backend) -> str:
    """All that decides the token ids of the samples."""
    facts: dict[str, JsonValue] = {
        "results_version": RESULTS_VERSION,
        "samples": dict(dataset.record.sha256),
        "tokenizer": backend.tokenizer.sha256,
        "prompting": spec.task.prompting.model_dump(mode="json"),
        "train_on": spec.task.data.train_on,
    }
    return fingerprint(facts)


def _check_settings(spec: RunSpec, dataset: Dataset) -> None:
    """Refuse settings that contradict each other or the data, before anything is loaded."""
    if spec.select.patience is not None and not dataset.split("validation"):
        raise HarnessError(
            "select.patience watches validation, and there are no validation rows",
            fix="add validation rows, or leave select.patience out",
            code="E-CONFLICT",
        )


def _check_order(spec: RunSpec, backend: Backend) -> None:
    """Refuse a race that has nothing to choose, and to stop training by a metric that is measured afterwards."""
    if spec.select.race and spec.select.rule == "last":
        raise HarnessError(
            "select.rule=last takes the last checkpoint, and in a race it may not be asked",
            fix="leave select.race out, or another select.rule",
            code="E-CONFLICT",
        )
    watching = spec.select.patience is not None and spec.select.stop_on == "metric"
    why = "select.race=true" if spec.select.race else f"backend={spec.backend.name}"
    if watching and (spec.select.race or not backend.trains_in_place):
        raise HarnessError(
            f"select.patience watches the metric of each checkpoint, and with {why} all of them answer after training",
            fix=f"select.stop_on=loss, or leave out {'select.race' if spec.select.race else 'select.patience'}",
            code="E-CONFLICT",
        )


def _check_prompting(spec: RunSpec, backend: Backend) -> None:
    """The task's own words may not spell control tokens any more than its rows may: they would forge turns."""
    if spec.task.prompting.form == "text":
        return
    prompting = spec.task.prompting
    words = [("system", prompting.system), ("instruction", prompting.instruction)]
    for key, text in (*words, *(("instructions", text) for text in prompting.instructions)):
        found = [special for special in special_texts(backend) if special in (text or "")]
        if found:
            raise HarnessError(
                f"prompting.{key} spells the control token {found[0]!r}, which would end or forge a turn",
                fix=f"take it out of prompting.{key}",
                code="E-SPECIAL-IN-TEXT",
            )


def _audit(
    spec: RunSpec,
    dataset: Dataset,
    rendered: Rendered,
    renderer: Renderer,
    backend: Backend,
    metrics: Sequence[AnyMetric],
) -> AuditRecord:
    record = audit(
        dataset,
        spec.task,
        lengths=rendered.lengths,
        context_length=backend.context_length,
        special_texts=special_texts(backend),
        row_problems=rendered.problems,
        selection_rule=spec.select.rule,
        bounded=all((metric.worst, metric.best) == (0, 1) for metric in metrics[:1]),
        in_bytes=backend.tokenizer.counts_bytes,
    )
    if renderer.skew is None:
        return record
    finding = Finding(
        code="E-TEMPLATE-SKEW",
        severity="warning",
        what=renderer.skew,
        fix="training and evaluation both use the generation prompt; prompting.thinking may make the template agree",
        count=1,
    )
    return replace(record, findings=(*record.findings, finding))


def require_trainable(spec: RunSpec, plugins: Plugins) -> None:
    """HarnessError where the trainer cannot train the backend's models; one that names no backend takes any."""
    backends = plugins.trainer.backends
    if backends and spec.backend.name not in backends:
        raise HarnessError(
            f"trainer {spec.trainer_name!r} cannot train the models of backend {spec.backend.name!r}",
            fix=f"use backend={' or '.join(backends)}, or another trainer",
            code="E-CONFLICT",
        )


def require_sound(prepared: Prepared) -> None:
    """HarnessError that lists every fatal finding, with examples; nothing has been written yet."""
    fatal = prepared.audit.fatal
    if not fatal:
        return
    details = [line for finding in fatal for line in describe(finding)]
    count = sum(finding.count for finding in fatal)
    raise HarnessError(
        f"the data has {count} {'error' if count == 1 else 'errors'} that a run cannot go on with",
        fix="mend the rows, or leave unreadable ones out with --drop-bad (they are counted in the report)",
        code=fatal[0].code,
        details=details,
    )


def describe(finding: Finding) -> list[str]:
    """A finding for a terminal: what, up to five examples, how to mend it."""
    more = finding.count - len(finding.examples)
    tail = [f"  {more} more like this"] if more > 0 and finding.examples else []
    head = f"{finding.severity}[{finding.code}]: {finding.what}"
    return [head, *(f"  at {example}" for example in finding.examples), *tail, f"  fix: {finding.fix}"]


def make_metrics(spec: RunSpec, dataset: Dataset, plugins: Plugins) -> tuple[AnyMetric, ...]:
    """The task's metrics on these samples, primary first; HarnessError where one cannot work with them."""
    asked = spec.task.metrics
    metrics = {name: _make(name, spec, dataset, plugins) for name in asked.names}
    _refuse_one_name_for_two(metrics)
    _refuse_impossible_effect(spec, metrics[asked.primary])
    if spec.select.race:
        require_additive([metrics[name] for name in (asked.primary, asked.fallback) if name is not None])
    for metric in metrics.values():
        if isinstance(metric, JudgeMetric):
            metric.configured.require_sound(spec.seed, spec.backend.name)
        else:
            _try(metric, dataset.samples[:_N_TRIED])
    return tuple(metrics.values())


def _make(name: str, spec: RunSpec, dataset: Dataset, plugins: Plugins) -> AnyMetric:
    if name in plugins.judges:
        return JudgeMetric(plugins.judges[name], spec)
    options = spec.task.metrics.options.get(name, {})
    return plugins.metrics[name](MetricContext(name, dataset.samples, options, plugins.folder))


def _refuse_one_name_for_two(metrics: Mapping[str, AnyMetric]) -> None:
    """Numbers are kept by the metric's own name: two of one name would get each other's."""
    first: dict[str, str] = {}
    for asked, metric in metrics.items():
        other = first.setdefault(metric.name, asked)
        if other != asked:
            raise HarnessError(
                f"the metrics {other!r} and {asked!r} both call themselves {metric.name!r}",
                fix="give the metric's `name` as it is asked for (context.name), or leave one of them out",
                code="E-METRIC",
            )


def _refuse_impossible_effect(spec: RunSpec, primary: AnyMetric) -> None:
    effect, span = spec.task.metrics.smallest_effect, abs(primary.best - primary.worst)
    if effect is not None and not _SMALLEST_SHARE * span <= effect <= span:
        raise HarnessError(
            f"metrics.smallest_effect = {effect:g} makes no sense on {primary.name}, which goes from "
            f"{primary.worst:g} to {primary.best:g}",
            fix="name a difference that would be worth having, in the metric's own unit",
            code="E-OPTION",
        )


def _try(metric: AnyMetric, samples: Sequence[Sample]) -> None:
    """Score a few references: what cannot score them must not be found out after an hour of generating."""
    answers = [sample.references[0] for sample in samples]
    if isinstance(metric, Metric):
        metric.measure(samples, answers)
    elif samples:
        metric.score(samples, answers)


def _short(spec: RunSpec) -> str:
    """A readable beginning of the run's id: model and trainer."""
    model, trainer = Path(spec.model.name).name.lower(), Path(spec.trainer_name).name
    return f"{_file_name(model) or 'model'}-{_file_name(trainer) or 'trainer'}"


def _file_name(name: str) -> str:
    return "".join(c if (c.isalnum() and c.isascii()) or c in ".-" else "-" for c in name)[:40].strip(".-")
