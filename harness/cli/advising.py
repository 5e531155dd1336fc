"""Advice: the checklist of choosing a model, asked on a terminal or given as flags."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue, ValidationError

from harness.advice import QUESTIONS, Advice, Answers, Question, advise_model
from harness.cli.terminal import echo, echo_json, show_table
from harness.core.errors import EnvironmentFault, HarnessError

advise = typer.Typer(help="Advice before anything is spent: harness advise model", no_args_is_help=True)
Answer = Annotated[str | None, typer.Option()]


@advise.callback()
def _group() -> None:
    """Keeps `model` a word of its own while it is the only topic."""


@advise.command("model")
def model(
    modality: Annotated[str | None, typer.Option(help="text, image, audio or video")] = None,
    complexity: Annotated[str | None, typer.Option(help="of the task: low, medium or high")] = None,
    priority: Annotated[str | None, typer.Option(help="quality, balance or cost")] = None,
    safety: Annotated[str | None, typer.Option(help="what a wrong answer does: low, medium or high harm")] = None,
    facts: Annotated[str | None, typer.Option(help="stable or changing: do right answers stay right?")] = None,
    arrangement: Annotated[str | None, typer.Option(help="what there is: gpu, cpu, cloud or api")] = None,
    memory_gb: Annotated[str | None, typer.Option(help="memory of the device that tunes, in GB")] = None,
    rows: Annotated[str | None, typer.Option(help="rows with right answers; counted with --data")] = None,
    input_tokens: Annotated[str | None, typer.Option(help="longest prompt, about; measured with --data")] = None,
    output_tokens: Annotated[str | None, typer.Option(help="longest answer, about; measured with --data")] = None,
    data: Annotated[str | None, typer.Option(help="a file of rows to measure")] = None,
    out: Annotated[Path | None, typer.Option(help="write the advice to a new .toml or .json file")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Which model to try first: by checklist and memory arithmetic, every line with its reason."""
    _require_new(out)
    typed = {
        "modality": modality, "complexity": complexity, "priority": priority, "safety": safety, "facts": facts,
        "arrangement": arrangement, "memory_gb": memory_gb, "rows": rows, "input_tokens": input_tokens,
        "output_tokens": output_tokens,
    }  # fmt: skip
    measured = _measured(data) if data is not None else {}
    known = {**measured, **{key: text for key, text in typed.items() if text is not None}}
    advice = advise_model(_answers(known))
    if out is not None:
        _write(out, advice)
    if as_json:
        echo_json(_record(advice))
    else:
        _show(advice, measured)


def _answers(known: Mapping[str, JsonValue]) -> Answers:
    """The checklist, complete; missing answers are asked for on a terminal, and are an error anywhere else."""
    missing = [question for question in QUESTIONS if question.key not in known]
    if missing and not sys.stdin.isatty():
        flags = [f"{q.flag} {'|'.join(q.choices) or 'NUMBER'}: {q.text}" for q in missing]
        raise HarnessError(
            f"{len(missing)} answers are missing",
            fix="give them as flags, or type the command on a terminal to be asked",
            details=flags,
        )
    answers = _valid(known, missing)
    while isinstance(answers, Question):
        known = {**known, answers.key: _ask(answers)}
        missing = [question for question in missing if question.key not in known]
        answers = _valid(known, missing)
    return answers


def _valid(known: Mapping[str, JsonValue], missing: list[Question]) -> Answers | Question:
    """The answers, or the next question; E-OPTION for every given answer that is wrong."""
    if missing:
        return missing[0]
    try:
        return Answers.model_validate(dict(known))
    except ValidationError as err:
        details = [f"--{str(e['loc'][0]).replace('_', '-')}: {e['msg']} (got {e['input']!r:.60})" for e in err.errors()]
        raise HarnessError("answers are wrong", fix="correct them", code="E-OPTION", details=details) from err


def _ask(question: Question) -> str:
    """Ask until the answer is one of the choices, or a number."""
    choices = "/".join(question.choices)
    while True:
        text = str(typer.prompt(f"{question.text}{f' [{choices}]' if choices else ''}", err=True)).strip()
        if text in question.choices or (not question.choices and _is_number(text)):
            return text
        echo(f"please answer {choices or 'with a number'}", error=True)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit() and text.isascii()


def _measured(path: str) -> dict[str, JsonValue]:
    from harness.scaffold import propose

    proposal = propose({"source": path}, Path())
    return {
        "rows": sum(proposal.n_rows.values()),
        "input_tokens": max(1, proposal.prompt_tokens),
        "output_tokens": max(1, proposal.reference_tokens),
    }


def _show(advice: Advice, measured: Mapping[str, JsonValue]) -> None:
    if measured:
        echo("measured: " + ", ".join(f"{key} {value:,}" for key, value in measured.items() if isinstance(value, int)))
    for line in advice.lines:
        echo(f"{line.topic}: {line.advice}")
        echo(f"    because {line.reason}")
    echo("")
    show_table(
        ["size, GB for", "use", "LoRA", "LoRA, at least", "full tuning"],
        [[n.size, *(f"{gb:.1f}" for gb in (n.use, n.lora, n.lora_least, n.full))] for n in advice.needs],
    )
    echo("estimates by formula, see harness/advice/memory.py; the real figure is what a dry run on the device shows")


def _record(advice: Advice) -> dict[str, JsonValue]:
    return {
        "answers": advice.answers.model_dump(mode="json"),
        "advice": [dict(asdict(line)) for line in advice.lines],
        "memory_gb": [{key: _rounded(value) for key, value in asdict(need).items()} for need in advice.needs],
    }


def _rounded(value: float | str) -> JsonValue:
    return round(value, 2) if isinstance(value, float) else value


def _require_new(out: Path | None) -> None:
    if out is None:
        return
    if out.suffix not in (".toml", ".json"):
        raise HarnessError(f"{str(out)!r} is neither .toml nor .json", fix="name a file that ends in one of these")
    if out.exists():
        raise HarnessError(f"{str(out)!r} exists already", fix="name another file, or delete it first", code="E-EXISTS")


def _write(out: Path, advice: Advice) -> None:
    import json

    from harness.scaffold.toml import spell, spell_key

    record = _record(advice)
    text = json.dumps(record, indent=2, ensure_ascii=True) + "\n"
    if out.suffix == ".toml":
        tables = []
        for name, value in record.items():
            for table in value if isinstance(value, list) else [value]:
                head = f"[[{name}]]" if isinstance(value, list) else f"[{name}]"
                assert isinstance(table, dict)
                tables.append("\n".join([head, *(f"{spell_key(key)} = {spell(item)}" for key, item in table.items())]))
        text = "\n\n".join(tables) + "\n"
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as err:
        raise EnvironmentFault(
            f"{str(out)!r} cannot be written: {err.strerror}", fix="name a file in a folder that exists", code="E-WRITE"
        ) from err
