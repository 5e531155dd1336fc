"""A judge as a task names it: a folder with judge.toml and its rubric, and the labels it has to answer to."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from pydantic import TypeAdapter, ValidationError

from harness import registry
from harness.autorater.labels import LabelFile, notes_on, read_labels
from harness.core.errors import HarnessError
from harness.core.judging import Label, LabelKind, latest, text_hash
from harness.core.protocols import BackendKind, Judge, JudgeContext, JudgeKind
from harness.core.specs import BackendSpec, JudgeSpec, Name
from harness.data.display import quote
from harness.store.encoding import fingerprint, sha256_file
from harness.store.places import is_file

JUDGE_FILE = "judge.toml"
LABELS_FILE = "labels.jsonl"
_FOLDERS = "judges"
_LONGEST_PATH = 256
# What asks a judge that names a model of its own and no backend.
_WITH_A_MODEL = "hf"


@runtime_checkable
class DemandingJudge(Protocol):
    """A judge that some labels or backends do not do for, and that can say so before anything is asked or written."""

    def require(self, labels: Sequence[Label], backend: str) -> None:
        """HarnessError where it cannot be fitted to these labels with models of the backend of this name."""
        ...


@dataclass(frozen=True)
class ConfiguredJudge:
    """A judge that can be made: its settings, its rubric, and the people's labels there are for it.

    labels: of its criterion, kind and scale, those of the final round left out: they judge the judge's claims and may
    not fit it.
    labels_file: where all of them stand. backend: None where the run's own backend is used.
    notes: about these labels, and about others of its criterion that are left out, for people.
    """

    name: str
    folder: Path
    spec: JudgeSpec
    rubric: str
    labels: tuple[Label, ...]
    kind: JudgeKind
    backend: BackendKind | None
    labels_file: Path | None
    notes: tuple[str, ...]

    @cached_property
    def sources(self) -> Mapping[str, str]:
        """What -> sha256 of every file that decides what the judge says: settings, rubric, labels, code, own model."""
        files = [self.folder / JUDGE_FILE, self.folder / self.spec.rubric, *self._files_in_options()]
        found = {f"{file.name} of {self.name}": sha256_file(file) for file in files}
        if self.labels_file is not None:
            found[f"labels of {self.name}"] = sha256_file(self.labels_file)
        if self.code is not None:
            found[f"{self.spec.kind} of {self.name}"] = self.code
        if self.backend is not None and self.spec.model is not None:
            model = self.backend.identify(self.spec.model, self.spec.backend or BackendSpec())
            found[f"model of {self.name}"] = fingerprint(dict(model))
        return found

    @property
    def code(self) -> str | None:
        """sha256 of the user's own file that the kind of judge comes from; None for kinds that are installed."""
        return registry.source_digest(self.spec.kind, self.folder)

    def _files_in_options(self) -> list[Path]:
        texts = (value for value in self.spec.options.values() if isinstance(value, str))
        places = (self.folder / text for text in texts if text and "\0" not in text and len(text) < _LONGEST_PATH)
        return [place for place in places if is_file(place)]

    def require_sound(self, seed: int, own_backend: str) -> None:
        """HarnessError where the judge cannot be made, takes pairs where labels are of single answers, or cannot learn.

        own_backend: name of the backend that asks a judge which names none of its own.
        """
        judge = self.make(seed)
        if (judge.takes == "pair") != (self.spec.label == "pair"):
            wanted = "pair" if judge.takes == "pair" else "likert or pass_fail"
            raise _wrong(f"{self.folder / JUDGE_FILE}: kind {quote(self.spec.kind)} needs label = {wanted}")
        if isinstance(judge, DemandingJudge):
            judge.require(latest(self.labels), _backend_name(self.spec, own_backend))

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
    found = read_labels(file) if file is not None else LabelFile(())
    own = tuple(each for each in found.labels if _answers(each, spec) and each.round != "final")
    notes = (*found.torn, *notes_on(own, text_hash(rubric)), *_left_out(found.labels, spec, folder / JUDGE_FILE))
    backend = None if spec.backend is None and spec.model is None else _backend(spec, folder)
    return ConfiguredJudge(
        name=_name_of(folder),
        folder=folder,
        spec=spec,
        rubric=rubric,
        labels=own,
        kind=_kind(spec, folder),
        backend=backend,
        labels_file=file,
        notes=notes,
    )


def _name_of(folder: Path) -> str:
    """The folder's own name, which names files and metrics; E-JUDGE for one that cannot."""
    name = folder.resolve().name
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as err:
        raise _wrong(f"a judge's folder cannot be called {quote(name)}: letters, digits, . _ and - only") from err
    return name


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
    rubric = _text(_read(folder / spec.rubric), folder / spec.rubric)
    if not rubric.strip():
        raise HarnessError(
            f"{folder / spec.rubric} is empty: neither people nor the judge are told what to look for",
            fix="write down what makes an answer good or bad, and what the ends of the scale mean",
            code="E-JUDGE",
        )
    return spec, rubric


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


def _answers(label: Label, spec: JudgeSpec) -> bool:
    """Whether a label answers the very question that the judge is asked."""
    return label.criterion == spec.criterion and (label.kind, _top(label)) == (spec.label, _top(spec))


def _top(asked: Label | JudgeSpec) -> int | None:
    """Highest value of a Likert scale; None of other kinds, which have none."""
    kind = asked.kind if isinstance(asked, Label) else asked.label
    return asked.scale if kind == "likert" else None


def _left_out(labels: Sequence[Label], spec: JudgeSpec, file: Path) -> Iterator[str]:
    """What a reader should know of labels that are not this judge's; labels for another criterion are no news."""
    others = sorted({quote(each.criterion) for each in labels})
    if others and quote(spec.criterion) not in others:
        yield f"no label there is for {quote(spec.criterion)}; there are labels for {', '.join(others)}"
    answered = Counter(
        _in_words(each.kind, each.scale)
        for each in labels
        if each.criterion == spec.criterion and not _answers(each, spec)
    )
    for kind, n in sorted(answered.items()):
        yield (
            f"{n:,} labels for {quote(spec.criterion)} are left out: they are {kind}, and {file} asks for "
            f"{_in_words(spec.label, spec.scale)}"
        )


def _in_words(kind: LabelKind, scale: int) -> str:
    return f"likert 1-{scale}" if kind == "likert" else kind


def _backend_name(spec: JudgeSpec, own: str) -> str:
    """What asks the judge. own: what does where it names neither a backend nor a model."""
    if spec.backend is not None:
        return spec.backend.name
    return own if spec.model is None else _WITH_A_MODEL


def _kind(spec: JudgeSpec, folder: Path) -> JudgeKind:
    try:
        return cast(JudgeKind, registry.load("judges", spec.kind, folder=folder))
    except HarnessError as err:
        raise _named(err, folder, f"the kind of judge {quote(spec.kind)}") from err


def _backend(spec: JudgeSpec, folder: Path) -> BackendKind:
    name = _backend_name(spec, _WITH_A_MODEL)
    try:
        return cast(BackendKind, registry.load("backends", name))
    except HarnessError as err:
        raise _named(err, folder, f"the backend {quote(name)}") from err


def _named(err: HarnessError, folder: Path, wanted: str) -> HarnessError:
    """The error for a name that is not known, with the file that has it; other errors as they are."""
    if err.code != "E-UNKNOWN":
        return err
    hint = err.what.partition("; ")[2]
    return HarnessError(
        f"{folder / JUDGE_FILE} names {wanted}, and there is none of that name; {hint}", fix=err.fix, code=err.code
    )


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
