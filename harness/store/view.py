"""Finished runs for readers: the view a report gets, and the list of runs. Nothing is written, no lock is taken."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import JsonValue, TypeAdapter

from harness.core.errors import HarnessError
from harness.core.licences import Corrected, JudgeCard, Validation
from harness.core.records import AuditRecord, DataRecord, RunResult, SampleRow
from harness.store import layout
from harness.store.claims import kept_claim
from harness.store.encoding import parse
from harness.store.events import reused_answers, stage_seconds
from harness.store.looks import looks_at_test
from harness.store.places import is_file
from harness.store.run import FinishedRun


class StoredView:
    """A finished run as a `RunView`; every file is verified when it is first read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run = FinishedRun(folder)

    @cached_property
    def result(self) -> RunResult:
        """The run's result."""
        return self._run.load(RunResult, layout.RESULT)

    @cached_property
    def spec(self) -> Mapping[str, JsonValue]:
        """What was asked, with every default."""
        return parse(dict[str, JsonValue], self._run.read(layout.SPEC), name=layout.SPEC)

    @cached_property
    def origins(self) -> Mapping[str, str]:
        """Dotted key -> where its value came from."""
        origins = self.environment.get("origins", {})
        return {key: str(value) for key, value in origins.items()} if isinstance(origins, dict) else {}

    @cached_property
    def data(self) -> DataRecord:
        """What was read."""
        return self._run.load(DataRecord, layout.DATA)

    @cached_property
    def audit(self) -> AuditRecord:
        """What was wrong with it."""
        return self._run.load(AuditRecord, layout.AUDIT)

    @cached_property
    def environment(self) -> Mapping[str, JsonValue]:
        """Where the run was made: versions, and the words typed."""
        return read_environment(self._folder)

    @cached_property
    def timings(self) -> Sequence[tuple[str, float]]:
        """(stage, seconds), in order."""
        return stage_seconds(self._folder)

    @cached_property
    def reused(self) -> Sequence[tuple[str, int]]:
        """(stage, answers that an earlier run had), in order."""
        return reused_answers(self._folder)

    @cached_property
    def looks(self) -> Sequence[str]:
        """Ids of the runs in this folder of runs that compared on the same test rows."""
        return looks_at_test(self._folder.resolve())

    @cached_property
    def judges(self) -> Sequence[JudgeCard]:
        """What was found out about each judge of the run."""
        files = sorted((self._folder / layout.JUDGES).glob(f"*/{layout.JUDGE_CARD}"))
        names = (layout.judge_card(file.parent.name) for file in files)
        return tuple(self._run.load(JudgeCard, name) for name in names if self._run.has(name))

    def held_out(self, judge: str) -> Mapping[str, float]:
        """A judge's scores of what people labelled, by a calibration that did not see its prompt: by `Label.item`."""
        name = layout.held_out(judge)
        return self._run.load(dict[str, float], name) if self._run.has(name) else {}

    @cached_property
    def corrected(self) -> Sequence[Corrected]:
        """What people would say of each candidate on validation."""
        return self._run.load(list[Corrected], layout.CORRECTED) if self._run.has(layout.CORRECTED) else ()

    @cached_property
    def validation(self) -> Validation | None:
        """What people said on test; None where labels or result are no longer what it was computed from."""
        return kept_claim(self._folder)

    def samples(self) -> Iterator[SampleRow]:
        """Every test sample, in the data's order."""
        adapter = TypeAdapter(SampleRow)
        for line in self._run.read(layout.SAMPLES).split(b"\n"):
            if line:
                yield adapter.validate_json(line)


def read_environment(folder: Path) -> Mapping[str, JsonValue]:
    """environment.json, or nothing where it is absent or damaged: no number depends on it."""
    try:
        content = json.loads((folder / layout.ENVIRONMENT).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run as `harness list runs` shows it."""

    name: str
    state: str
    conclusion: str


def listed_runs(root: Path) -> tuple[ListedRun, ...]:
    """Every run below a folder; one that cannot be read is listed with the reason and hides no other."""
    folders = sorted(path.parent for path in root.glob(f"*/*/{layout.LOCK}"))
    return tuple(_listed(folder, root) for folder in folders)


def find_run(name: str, root: Path) -> Path:
    """A run's folder by path, by task/id, by id, or by the beginning of an id that only one run has."""
    direct = [path for path in (Path(name), root / name) if is_file(path / layout.LOCK)]
    if direct:
        return direct[0]
    task, _, run_id = name.rpartition("/")
    folders = [path.parent for path in root.glob(f"*/*/{layout.LOCK}")]
    matches = [f for f in folders if f.name.startswith(run_id) and task in ("", f.parent.name)]
    if len(matches) == 1:
        return matches[0]
    problem = f"{len(matches)} runs begin with {name!r}" if matches else f"there is no run {name!r} below {root}"
    raise HarnessError(problem, fix="`harness list runs` shows them; name one by task/id", code="E-NORUN")


def _listed(folder: Path, root: Path) -> ListedRun:
    name = str(folder.relative_to(root))
    try:
        run = FinishedRun(folder)
        if not run.has(layout.RESULT):
            return ListedRun(name, "unfinished", "")
        return ListedRun(name, "finished", run.load(RunResult, layout.RESULT).conclusion.sentence)
    except (HarnessError, OSError) as err:
        return ListedRun(name, "unreadable", str(err).partition("\n")[0])
