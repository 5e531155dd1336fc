"""A judge as a task names it: a folder with judge.toml and its rubric, and the labels it has to answer to."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from harness import registry
from harness.autorater.labels import read_labels
from harness.core.errors import HarnessError
from harness.core.judging import Label, text_hash
from harness.core.protocols import BackendKind, Judge, JudgeContext, JudgeKind
from harness.core.specs import JudgeSpec
from harness.data.display import quote
from harness.store.encoding import sha256

JUDGE_FILE = "judge.toml"
LABELS_FILE = "labels.jsonl"
_FOLDERS = "judges"


@dataclass(frozen=True)
class ConfiguredJudge:
    """A judge that can be made: its settings, its rubric, and the people's labels there are for it.

    labels: of its criterion, those of the final round left out: they judge the judge's claims and may not fit it.
    sources: file -> sha256 of everything that decides what it is. backend: None where the run's own backend is used.
    notes: about the labels, for people.
    """

    name: str
    folder: Path
    spec: JudgeSpec
    rubric: str
    labels: tuple[Label, ...]
    kind: JudgeKind
    backend: BackendKind | None
    sources: Mapping[str, str]
    notes: tuple[str, ...]

    def make(self, seed: int) -> Judge:
        """The judge, not yet fitted to anything."""
        return self.kind.create(
            JudgeContext(
                name=self.name,
                criterion=self.spec.criterion,
                rubric=self.rubric,
                label_kind=self.spec.label,
                scale=self.spec.scale,
                options=self.spec.options,
                folder=self.folder,
                seed=seed,
            )
        )


def configured_judge(name: str, task_folder: Path) -> ConfiguredJudge:
    """The judge of a name or folder; HarnessError E-JUDGE for what is wrong with its files, E-UNKNOWN without any."""
    folder = find_judge(name, task_folder)
    spec, rubric = read_judge(folder)
    file = labels_file(spec, folder, task_folder)
    found = read_labels(file, guideline=text_hash(rubric)) if file is not None else None
    labels = () if found is None else found.labels
    own = tuple(each for each in labels if each.criterion == spec.criterion and each.round != "final")
    notes = () if found is None else found.notes
    if found is not None and labels and not own:
        others = ", ".join(sorted({quote(each.criterion) for each in labels}))
        notes = (*notes, f"no label in {file} is for {quote(spec.criterion)}; there are labels for {others}")
    files = (folder / JUDGE_FILE, folder / spec.rubric)
    sources = {f"{each.name} of {name}": sha256(each.read_bytes()) for each in files}
    if file is not None:
        sources[f"labels of {name}"] = sha256(file.read_bytes())
    backend = None if spec.backend is None and spec.model is None else _backend(spec)
    return ConfiguredJudge(
        name=Path(name).name,
        folder=folder,
        spec=spec,
        rubric=rubric,
        labels=own,
        kind=cast(JudgeKind, registry.load("judges", spec.kind, folder=folder)),
        backend=backend,
        sources=sources,
        notes=notes,
    )


def find_judge(name: str, task_folder: Path) -> Path:
    """Its folder: a path, or a name among the task's judges, those here, and those that come with the harness."""
    places = [task_folder / _FOLDERS / name, Path(_FOLDERS) / name, *(root / name for root in _ready())]
    if "/" in name or name.startswith("."):
        places = [Path(name), task_folder / name]
    for place in places:
        if (place / JUDGE_FILE).is_file():
            return place
    known = ", ".join(judge_names(task_folder))
    raise HarnessError(
        f"there is no judge {quote(name)}; known here: {known or 'none'}",
        fix=f"write {task_folder / _FOLDERS / name}/{JUDGE_FILE}, or name a folder that has one",
        code="E-UNKNOWN",
    )


def read_judge(folder: Path) -> tuple[JudgeSpec, str]:
    """The settings in a judge's folder and its rubric; E-JUDGE for what is wrong with them."""
    file = folder / JUDGE_FILE
    spec = _spec(_read(file), file)
    return spec, _text(_read(folder / spec.rubric), folder / spec.rubric)


def written_to(spec: JudgeSpec, folder: Path, task_folder: Path) -> Path:
    """The file that new labels for a judge go to: the one it reads, else the task's."""
    if spec.labels is not None:
        return folder / spec.labels
    return labels_file(spec, folder, task_folder) or task_folder / LABELS_FILE


def judge_names(task_folder: Path) -> tuple[str, ...]:
    """Names of the judges that a task can use, its own first."""
    roots = (task_folder / _FOLDERS, Path(_FOLDERS), *_ready())
    names = (file.parent.name for root in roots for file in sorted(root.glob(f"*/{JUDGE_FILE}")))
    return tuple(dict.fromkeys(names))


def own_judges(task_folder: Path) -> tuple[str, ...]:
    """Names of the judges that stand in the task's folder."""
    return tuple(sorted(file.parent.name for file in (task_folder / _FOLDERS).glob(f"*/{JUDGE_FILE}")))


def labels_file(spec: JudgeSpec, folder: Path, task_folder: Path) -> Path | None:
    """Where a judge's labels are: the file it names (E-JUDGE if absent), its own, or the task's; None without any."""
    if spec.labels is not None:
        file = folder / spec.labels
        if not file.is_file():
            raise _wrong(f"{folder / JUDGE_FILE} names the labels {quote(spec.labels)}, and there is no such file")
        return file
    return next((place / LABELS_FILE for place in (folder, task_folder) if (place / LABELS_FILE).is_file()), None)


def _backend(spec: JudgeSpec) -> BackendKind:
    name = spec.backend.name if spec.backend is not None else "hf"
    return cast(BackendKind, registry.load("backends", name))


def _ready() -> tuple[Path, ...]:
    """Rubrics that come with the harness, and with other installed packages."""
    return tuple(folder for folder, _ in registry.judge_roots())


def _spec(content: bytes, file: Path) -> JudgeSpec:
    try:
        document = tomllib.loads(_text(content, file))
    except tomllib.TOMLDecodeError as err:
        raise _wrong(f"{file} is not TOML: {err}") from err
    try:
        return JudgeSpec.model_validate(document)
    except ValidationError as err:
        details = [
            f"{'.'.join(map(str, each['loc'])) or 'judge'}: {each['msg'].removeprefix('Value error, ')}"
            for each in err.errors()
        ]
        raise _wrong(f"{file} has wrong settings", details) from err


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as err:
        raise _wrong(f"{file} cannot be read: {err.strerror}") from err


def _text(content: bytes, file: Path) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as err:
        raise _wrong(f"{file} is not UTF-8") from err


def _wrong(what: str, details: list[str] | None = None) -> HarnessError:
    return HarnessError(
        what, fix="correct it; judges/README.md lists the keys of judge.toml", code="E-JUDGE", details=details or ()
    )
