"""Commands on files of rows: look at them, write them in another format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer
from pydantic import JsonValue

from harness.cli import execution
from harness.cli.terminal import echo, echo_json, show_table
from harness.core.errors import HarnessError

if TYPE_CHECKING:
    from harness.core.records import Finding
    from harness.core.specs import DataSpec
    from harness.data.converting import Converted
    from harness.data.overview import Overview

FormatName = Literal["messages", "gemini", "prompt-completion", "alpaca", "sharegpt", "columns"]
Source = Annotated[str, typer.Argument(metavar="SOURCE", help="a file of rows, or hf:owner/name@revision#split")]
Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help='settings of [data]: data.prompt="{question}" data.id=key ...'),
]
AsJson = Annotated[bool, typer.Option("--json", help="for programs")]

app = typer.Typer(help="Look at files of rows, and convert them.", no_args_is_help=True, rich_markup_mode=None)


@app.command("show")
def show(source: Source, words: Words = None, as_json: AsJson = False) -> None:
    """Format, number of rows, fields with fill rate and an example, and the first row as a conversation."""
    from harness.data.overview import overview

    seen = overview(_with_columns(_spec(source, words or [])), Path())
    if as_json:
        echo_json(seen)
    else:
        _show(seen)
    execution.exit_code = 2 if any(finding.severity == "fatal" for finding in seen.findings) else 0


@app.command("convert")
def convert(
    source: Source,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="file to write: .jsonl .json .csv .tsv .parquet")],
    words: Words = None,
    to: Annotated[FormatName, typer.Option("--to", help="how its rows are written")] = "messages",
    force: Annotated[bool, typer.Option("--force", help="write over a file that is there")] = False,
    drop_bad: Annotated[bool, typer.Option("--drop-bad", help="leave bad rows out, counted")] = False,
    as_json: AsJson = False,
) -> None:
    """Write rows in another format and kind of file, and read them back: the same samples, or nothing is written."""
    from harness.data.converting import convert as convert_rows
    from harness.store.disk import write_atomic

    if target.exists() and not (force and target.is_file()):
        raise HarnessError(f"{str(target)!r} is already there", fix="choose another name, or --force", code="E-EXISTS")
    spec = _with_columns(_spec(source, words or []))
    converted = convert_rows(spec, Path(), target.name, to, drop_bad=drop_bad)
    write_atomic(target, converted.content)
    if as_json:
        echo_json(_facts(converted, target))
    else:
        _show_converted(converted, target)


def _spec(source: str, words: Sequence[str]) -> DataSpec:
    """The [data] table that the words make; one error for all that is wrong with them."""
    from harness.config.mistakes import all_at_once, validated
    from harness.config.words import known_fields, overlay, split_words
    from harness.core.specs import DataSpec

    origins: dict[str, str] = {}
    document: dict[str, JsonValue] = {"task": {"data": {"source": source}}}
    known = {key: field for key, field in known_fields() if key.startswith("data.") and key != "data.source"}
    mistakes = overlay(document, split_words(words), known, origins)
    values = cast("dict[str, dict[str, dict[str, JsonValue]]]", document)["task"]["data"]
    spec = validated(DataSpec, values, "task.data.", origins, mistakes)
    if mistakes or spec is None:
        raise all_at_once(mistakes)
    return spec


def _with_columns(spec: DataSpec) -> DataSpec:
    """Plain columns get the templates that a run on this file would propose; said, so that it can be corrected.

    Rows that name their own format, and those nobody can guess, are left as they are.
    """
    from harness.data.formats import UNKNOWN
    from harness.data.overview import overview
    from harness.scaffold import propose

    if spec.prompt is not None or spec.messages is not None or spec.format not in ("auto", "columns"):
        return spec
    try:
        if spec.format == "auto" and overview(spec, Path()).format != UNKNOWN:
            return spec
        found = propose(spec.model_dump(mode="json", exclude_unset=True), Path())
    except HarnessError:
        return spec
    chosen = [choice for choice in found.choices if choice.key in ("data.prompt", "data.reference")]
    for choice in chosen:
        echo(f"note: {choice.key}={json.dumps(choice.value, ensure_ascii=False)}: {choice.reason}", error=True)
    return spec.model_copy(update={choice.key.removeprefix("data."): choice.value for choice in chosen})


def _show(seen: Overview) -> None:
    for name, digest in seen.files.items():
        echo(f"{name}: {digest or 'not read to its end'}")
    echo(f"{seen.n_rows:,} rows in the format {seen.format}; {seen.n_samples:,} can be used{_dropped(seen.n_dropped)}")
    show_table(
        ["field", "filled", "example"],
        [[facts.name, f"{facts.filled:.0%}", facts.example] for facts in seen.fields],
        numbers=False,
    )
    if seen.first is not None:
        echo(f"first row ({seen.first.origin}), id {seen.first.id}:")
        for message in seen.first.messages:
            echo(f"  {message.role}: {json.dumps(message.content, ensure_ascii=False)}")
        for number, reference in enumerate(seen.first.references):
            echo(f"  {'or' if number else 'answer'}: {json.dumps(reference, ensure_ascii=False)}")
    _show_findings(seen.findings)


def _show_converted(converted: Converted, target: Path) -> None:
    told = [found for found in converted.findings if found.severity != "note" or found.code == "E-GEMINI-LIMIT"]
    _show_findings(told)
    n_written = converted.n_rows - sum(converted.n_dropped.values())
    echo(f"{converted.n_rows:,} rows read as {converted.source_format}{_dropped(converted.n_dropped)}")
    echo(f"{n_written:,} rows written to {target} as {converted.target_format}; read back, they are the same samples")
    echo(f"first row: {json.dumps(converted.first, ensure_ascii=False)}")
    settings = ", ".join(f"{key} = {json.dumps(value)}" for key, value in converted.settings.items())
    echo(f"to read it, in [data] of task.toml: {settings}")


def _facts(converted: Converted, target: Path) -> dict[str, JsonValue]:
    return {
        "target": str(target),
        "from": converted.source_format,
        "to": converted.target_format,
        "n_rows": converted.n_rows,
        "n_dropped": dict(converted.n_dropped),
        "n_written": converted.n_rows - sum(converted.n_dropped.values()),
        "first": converted.first,
        "settings": dict(converted.settings),
    }


def _show_findings(findings: Sequence[Finding]) -> None:
    for finding in findings:
        echo(f"{finding.severity}[{finding.code}]: {finding.what}", error=True)
        for example in finding.examples if finding.severity != "note" else ():
            echo(f"  {example}", error=True)
        echo(f"  fix: {finding.fix}", error=True)


def _dropped(n_dropped: Mapping[str, int]) -> str:
    return "".join(f"; {n:,} left out for {reason}" for reason, n in n_dropped.items())
