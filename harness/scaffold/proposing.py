"""The whole proposal: files, fields, kind of task, metric and sizes, in the order of a task file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from harness import registry
from harness.core.errors import HarnessError
from harness.core.specs import TaskSpec
from harness.core.types import Sample
from harness.data import Dataset, read
from harness.data.display import escape
from harness.scaffold import sizes
from harness.scaffold.columns import Field, Roles, fields_of, group_of, has_any, roles_of, slices_of, unique_id
from harness.scaffold.derived import options_for
from harness.scaffold.doubts import doubts
from harness.scaffold.files import Table, choose_files, load_tables, valid
from harness.scaffold.kinds import kind_of, metrics_for, misfit
from harness.scaffold.preset import Preset
from harness.scaffold.proposal import Choice, Kind, Nested, Proposal, put
from harness.scaffold.texts import Texts, json_keys, measure

_MAX_LABELS_TEXT = 1_000


def propose(
    given: Mapping[str, JsonValue], folder: Path, *, metric: str | None = None, preset: Preset | None = None
) -> Proposal:
    """A task for the files named in `given`, with a reason for every setting.

    given: settings of [data] that are fixed, at least one file; paths are relative to `folder`. metric: the primary
    metric, if it is fixed. What a preset sets is not proposed again, unless it cannot fit these rows.
    Raises HarnessError where files or rows cannot be read, or the fields do not tell what they are for.
    """
    files = choose_files(given, folder)
    tables = load_tables(files, given, folder)
    fields = fields_of(tables)
    roles = roles_of(tables, given)
    fixed = {key: value for key, value in given.items() if key not in ("source", "train", "validation", "test")}
    reading = tuple(choice for choice in (*files, *roles.choices) if choice.key.removeprefix("data.") not in fixed)
    dataset = _read(reading, fixed, folder)
    texts = measure(dataset.samples)
    reference = str(fixed.get("reference") or next((c.value for c in roles.choices if c.key == "data.reference"), ""))
    kind, why = kind_of(texts, translates=roles.translates, reference=reference)
    n_dropped = sum(dataset.record.n_dropped.values())
    first = next((f.examples[0] for f in dataset.findings if f.severity != "note" and f.examples), "")
    chosen = (
        *reading,
        *_data(fields, roles, fixed, tables),
        *_labels(kind, texts, fixed),
        *_system(kind, texts, dataset.samples),
        sizes.shots(texts),
        sizes.max_tokens(texts),
        *_metrics(kind, texts, metric, preset, dataset.samples),
        *_slices(fields, roles, fixed, preset, reading),
    )
    worries = [
        *doubts(kind, texts, dataset.samples, n_dropped, escape(first, 300)),
        *_unlisted(kind, texts, chosen),
        *_missed(preset, fields),
    ]
    return Proposal(
        kind,
        why,
        _without_preset(chosen, preset),
        tuple(worries),
        {table.role: len(table.rows) for table in tables},
        texts.max_prompt,
        texts.max_reference,
        sizes.tokens(texts.max_prompt_bytes),
        sizes.tokens(texts.max_reference_bytes),
    )


def _read(reading: Sequence[Choice], fixed: Mapping[str, JsonValue], folder: Path) -> Dataset:
    """The samples as a run would read them, unreadable rows left out; HarnessError where none is left."""
    document: Nested = {"name": "proposed", "data": dict(fixed), "metrics": {"primary": "exact_match"}}
    for choice in reading:
        put(document, choice.key, choice.value)
    dataset = read(valid(TaskSpec, document), folder, drop_bad=True)
    if dataset.samples:
        return dataset
    finding = next(finding for finding in dataset.findings if finding.severity != "note")
    said = finding.examples[0] if finding.examples else finding.what
    raise HarnessError(f"no row can be read as a sample: {said}", fix=finding.fix, code=finding.code)


def _data(
    fields: Sequence[Field], roles: Roles, fixed: Mapping[str, JsonValue], tables: Sequence[Table]
) -> list[Choice]:
    id_ = None if "id" in fixed else unique_id(fields, roles.used)
    group = None if "group" in fixed else group_of(fields, roles.used | {str(fixed.get("id", "id"))})
    source = next((table for table in tables if table.role == "source"), None)
    cut = None if source is None or "split" in fixed else sizes.split(len(source.rows))
    return [choice for choice in (id_, group, cut) if choice is not None]


def _labels(kind: Kind, texts: Texts, fixed: Mapping[str, JsonValue]) -> list[Choice]:
    if kind != "classification" or "labels" in fixed:
        return []
    labels: list[JsonValue] = [*sorted(texts.labels)]
    return [Choice("data.labels", labels, "every reference there is: a row with another one is an error")]


def _system(kind: Kind, texts: Texts, samples: Sequence[Sample]) -> list[Choice]:
    """What an untuned model cannot know by itself: the names of the classes or fields."""
    if any(message.role == "system" for sample in samples for message in sample.messages):
        return []
    why = "the untuned model must be told what there is to choose from, or the comparison is not fair"
    if kind == "classification":
        names = ", ".join(sorted(texts.labels))
        text = f"Answer with one of: {names}."
    elif kind == "extraction":
        names = ", ".join(json_keys(samples))
        text = f"Answer with a JSON object and nothing else. Its fields, where they apply: {names}."
    else:
        return []
    return [Choice("prompting.system", text, why)] if 0 < len(names) <= _MAX_LABELS_TEXT and names.isprintable() else []


def _metrics(
    kind: Kind, texts: Texts, metric: str | None, preset: Preset | None, samples: Sequence[Sample]
) -> list[Choice]:
    if metric is not None:
        return _with_options(metric, samples)
    if preset is not None:
        return _beside_preset(kind, texts, preset, samples)
    found = metrics_for(kind, texts, _installed())
    return [Choice("metrics.primary", found.primary, found.reason), *_reported(found.report, f"as usual for {kind}")]


def _beside_preset(kind: Kind, texts: Texts, preset: Preset, samples: Sequence[Sample]) -> list[Choice]:
    """What a preset cannot know before it sees references: metrics with options, and another primary where its own
    cannot fit."""
    shown = next((name for name in preset.prefers if options_for(name, samples)), None)
    why = misfit(_primary(preset), texts)
    added = [name for name in preset.adds if options_for(name, samples)]
    if shown is not None:
        usual = [name for name in (_primary(preset), *_report(preset)) if misfit(name, texts) is None]
        because = "stricter than the preset's own metric, with options that every reference meets"
        return [
            Choice("metrics.primary", shown, because),
            *_reported((*usual, *added), "the preset's"),
            *(choice for name in (shown, *added) for choice in _with_options(name, samples)),
        ]
    if why is not None:
        found = metrics_for(kind, texts, _installed())
        own = [name for name in _report(preset) if misfit(name, texts) is None and name != found.primary]
        report = tuple(dict.fromkeys((*found.report, *own, *added)))
        return [
            Choice("metrics.primary", found.primary, f"{why}; {found.reason}"),
            *_reported(report, f"as usual for {kind}"),
            *(choice for name in added for choice in _with_options(name, samples)),
        ]
    if added:
        report = (*_report(preset), *added)
        options = [choice for name in added for choice in _with_options(name, samples)]
        return [*_reported(report, "the preset's, and what the references show"), *options]
    return []


def _reported(names: Sequence[str], why: str) -> list[Choice]:
    report: list[JsonValue] = [*names]
    return [Choice("metrics.report", report, f"reported beside it, {why}")] if report else []


def _with_options(metric: str, samples: Sequence[Sample]) -> list[Choice]:
    """The options of a metric that needs some, so that every reference is perfect."""
    found = options_for(metric, samples) or {}
    return [Choice(f"metrics.options.{metric}.{key}", value, "as the references are") for key, value in found.items()]


def _slices(
    fields: Sequence[Field],
    roles: Roles,
    fixed: Mapping[str, JsonValue],
    preset: Preset | None,
    reading: Sequence[Choice],
) -> list[Choice]:
    keys = {"id", *(str(fixed[key]) for key in ("id", "group") if key in fixed)}
    keys |= {str(choice.value) for choice in reading if choice.key == "data.id"}
    group = group_of(fields, roles.used | keys)
    used = roles.used | keys | ({str(group.value)} if group else set[str]())
    found = slices_of(fields, used, preset.offers if preset else ())
    return [found] if found else []


def _unlisted(kind: Kind, texts: Texts, chosen: Sequence[Choice]) -> list[str]:
    """Classes that an untuned model is not told of."""
    if kind != "classification" or any(choice.key == "prompting.system" for choice in chosen):
        return []
    return [
        f"the {len(texts.labels)} labels are not listed in the prompt: an untuned model knows none without examples"
    ]


def _missed(preset: Preset | None, fields: Sequence[Field]) -> list[str]:
    """What a preset needs and no row has."""
    if preset is None or not preset.needs or has_any(fields, preset.offers):
        return []
    return [f"preset {preset.name} asks for {preset.needs}"]


def _without_preset(choices: Sequence[Choice], preset: Preset | None) -> tuple[Choice, ...]:
    """Leave to the preset what it sets; metrics are chosen with the preset in mind, and stay."""
    taken = set() if preset is None else _dotted(preset.settings)
    return tuple(choice for choice in choices if choice.key not in taken or choice.key.startswith("metrics."))


def _primary(preset: Preset) -> str:
    metrics = preset.settings["metrics"]
    assert isinstance(metrics, dict)
    return str(metrics["primary"])


def _report(preset: Preset) -> tuple[str, ...]:
    metrics = preset.settings["metrics"]
    assert isinstance(metrics, dict)
    report = metrics.get("report", [])
    assert isinstance(report, list)
    return tuple(map(str, report))


def _dotted(document: Mapping[str, JsonValue]) -> set[str]:
    return {f"{section}.{key}" for section, table in document.items() if isinstance(table, dict) for key in table}


def _installed() -> Collection[str]:
    return frozenset(registry.names("metrics"))
