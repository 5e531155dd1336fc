"""Plants silent failures in a copy of the project, one at a time, and expects the tests named for each to fail.

    python tests/mutants/run.py [IDS...] [--workers N] [--markdown FILE]

IDS are of mutants ("S6a") or of silent failures ("S6": all of its mutants). Without any, everything is run.
The exit code is 1 if a mutant survives or cannot be planted, 2 if the tests fail without one.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("mutants.toml")
HEADING = "## The last whole run"
_TREE = ("harness", "trainers", "reports", "judges", "tests", "tasks", "pyproject.toml")
_LIMIT_S = 600
# A mutant that ends in one of these is a crash, which everybody notices: it proves nothing about silent failures.
_CRASHES = {"AttributeError", "ImportError", "IndentationError", "ModuleNotFoundError", "NameError", "SyntaxError"}
_CRASHES |= {"TypeError", "UnboundLocalError"}


@dataclass(frozen=True, slots=True)
class Silent:
    """A silent failure of evaluation, in words. left_out: why it has no mutant; empty where it has some."""

    id: str
    what: str
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One realistic slip: `was`, which stands exactly once in `file`, becomes `becomes`; each of `tests` must fail."""

    id: str
    slip: str
    file: str
    was: str
    becomes: str
    tests: tuple[str, ...]

    @property
    def silent(self) -> str:
        """The silent failure it belongs to: the id without its last letter."""
        return self.id.rstrip("abcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a mutant. problem: why it does not count as killed; empty where each of its tests failed."""

    mutant: Mutant
    seconds: float
    problem: str


def read_table(file: Path = TABLE) -> tuple[tuple[Silent, ...], tuple[Mutant, ...]]:
    """Silent failures and mutants of a table."""
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    mutants = (Mutant(**{**row, "tests": tuple(row["tests"])}) for row in table["mutant"])
    return tuple(Silent(**row) for row in table["silent"]), tuple(mutants)


def planted(mutant: Mutant, text: str) -> str:
    """The text of its file with the slip in it; ValueError unless the original stands there exactly once."""
    n = text.count(mutant.was)
    if n != 1:
        raise ValueError(f"the original text stands {n} times in {mutant.file}")
    return text.replace(mutant.was, mutant.becomes)


def copy_tree(target: Path) -> Path:
    """A copy of the sources and tests, without caches, so that no compiled file of the original is used."""
    for name in _TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__", ".*", "runs"))
        elif source.is_file():
            shutil.copyfile(source, target / name)
    return target


@contextmanager
def slipped(mutant: Mutant, tree: Path) -> Iterator[None]:
    """The mutant stands in the tree; the file is as it was afterwards."""
    file = tree / mutant.file
    before = file.read_text(encoding="utf-8")
    file.write_text(planted(mutant, before), encoding="utf-8")
    try:
        yield
    finally:
        file.write_text(before, encoding="utf-8")


def run_tests(tree: Path, tests: Sequence[str]) -> tuple[int, list[dict[str, str]], str]:
    """Exit code of pytest on the copy, what failed, and its last line; RuntimeError where it used other sources."""
    with tempfile.TemporaryDirectory(prefix="mutant-", dir=tree.parent) as scratch:
        record = Path(scratch) / "record.json"
        command = [sys.executable, "-m", "pytest", "-p", "witness", "-p", "no:cacheprovider"]
        command += ["--hypothesis-seed=0", "--tb=line", f"--basetemp={scratch}/tmp", *tests]
        # By its folder: an installed package may call itself `tests` too.
        path = os.pathsep.join([str(tree), str(tree / "tests" / "mutants")])
        environment = {**os.environ, "PYTHONPATH": path, "MUTANTS_RECORD": str(record)}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        try:
            done = subprocess.run(
                command, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=_LIMIT_S
            )
        except subprocess.TimeoutExpired:
            return -1, [], f"still running after {_LIMIT_S} s"
        tail = (done.stdout.strip() or done.stderr.strip()).rpartition("\n")[2]
        if not record.exists():
            return done.returncode, [], tail
        found = json.loads(record.read_text(encoding="utf-8"))
    if found["strangers"]:
        raise RuntimeError(f"not the copy was tested, but {found['strangers'][0]}")
    return done.returncode, found["failed"], tail


def judged(mutant: Mutant, code: int, failed: Sequence[dict[str, str]], tail: str) -> str:
    """Why the mutant does not count as killed; empty where it does."""
    if code == 0:
        return "survived"
    broken = [row for row in failed if row["when"] != "call"]
    if code != 1 or broken:
        return f"error in {broken[0]['test']} ({broken[0]['when']})" if broken else f"pytest ended with {code}: {tail}"
    honest = [row["test"] for row in failed if row["raised"] not in _CRASHES]
    silent = [test for test in mutant.tests if not any(_is(found, test) for found in honest)]
    return f"{silent[0]} passed, or ended in a crash" if silent else ""


def tried(mutant: Mutant, tree: Path) -> Verdict:
    """Plant a mutant in a tree, run its tests, take it out again."""
    start = time.monotonic()
    try:
        with slipped(mutant, tree):
            problem = judged(mutant, *run_tests(tree, mutant.tests))
    except ValueError as error:
        problem = str(error)
    return Verdict(mutant, time.monotonic() - start, problem)


def chosen(mutants: Sequence[Mutant], ids: Iterable[str]) -> list[Mutant]:
    """The mutants with these ids; all without any. SystemExit for an id that there is not."""
    wanted = set(ids)
    if unknown := wanted - {mutant.id for mutant in mutants} - {mutant.silent for mutant in mutants}:
        raise SystemExit(f"there is no mutant {', '.join(sorted(unknown))}")
    return [mutant for mutant in mutants if not wanted or {mutant.id, mutant.silent} & wanted]


def run_all(mutants: Sequence[Mutant], trees: Sequence[Path]) -> list[Verdict]:
    """Verdicts in the mutants' order, as many at a time as there are trees; each is printed as it comes."""
    free: queue.Queue[Path] = queue.Queue()
    for tree in trees:
        free.put(tree)

    def one(mutant: Mutant) -> Verdict:
        tree = free.get()
        try:
            verdict = tried(mutant, tree)
        finally:
            free.put(tree)
        state = verdict.problem or "killed"
        print(f"{mutant.id:6} {verdict.seconds:6.1f} s  {state}  ({mutant.slip})", flush=True)
        return verdict

    with ThreadPoolExecutor(len(trees)) as pool:
        return list(pool.map(one, mutants))


def markdown(silents: Sequence[Silent], verdicts: Sequence[Verdict]) -> str:
    """The verdicts as a table, one row a mutant, then what has none and why."""
    words = {silent.id: silent.what for silent in silents}
    lines = ["| id | silent failure | the slip | planted in | killed by | s |", "|---|---|---|---|---|---|"]
    for verdict in verdicts:
        mutant = verdict.mutant
        killers = verdict.problem or "<br>".join(f"`{_short(test)}`" for test in mutant.tests)
        cells = (mutant.id, words[mutant.silent], mutant.slip, f"`{mutant.file}`", killers, f"{verdict.seconds:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Left out:", ""]
    lines += [f"- {silent.id}, {silent.what}: {silent.left_out}" for silent in silents if silent.left_out]
    return "\n".join(lines) + "\n"


def write_markdown(file: Path, table: str, summary: str) -> None:
    """Put the table behind its heading in a file; what stands before the heading stays."""
    before = file.read_text(encoding="utf-8").partition(HEADING)[0] if file.exists() else ""
    file.write_text(f"{before}{HEADING}\n\n{summary}\n\n{table}", encoding="utf-8")


def main(words: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description="Plant silent failures, and expect tests to notice.")
    parser.add_argument("ids", nargs="*", help="of mutants (S6a) or silent failures (S6); all without any")
    parser.add_argument("--workers", type=int, default=2, help="copies that are tested at the same time")
    parser.add_argument("--markdown", type=Path, help="a file that gets the table")
    asked = parser.parse_args(words)
    silents, mutants = read_table()
    mutants = tuple(chosen(mutants, asked.ids))
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        trees = [copy_tree(Path(place, f"copy-{n}")) for n in range(asked.workers)]
        tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
        code, failed, tail = run_tests(trees[0], tests)
        if code != 0:
            print(f"without a mutant the tests must pass, but pytest ended with {code}: {tail}")
            print(*(f"  {row['test']} ({row['when']}, {row['raised']})" for row in failed), sep="\n")
            return 2
        print(f"without a mutant: {tail}", flush=True)
        verdicts = run_all(mutants, trees)
    n_killed = sum(not verdict.problem for verdict in verdicts)
    summary = f"{n_killed} of {len(verdicts)} mutants killed; without a mutant: {tail}"
    print(summary)
    if asked.markdown:
        write_markdown(asked.markdown, markdown(silents, verdicts), f"{summary}.")
    return 0 if n_killed == len(verdicts) else 1


def _is(found: str, test: str) -> bool:
    """Whether a failed test is the named one, or one of its parameters."""
    return found == test or found.startswith(f"{test}[")


def _short(test: str) -> str:
    return test.removeprefix("tests/").replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
