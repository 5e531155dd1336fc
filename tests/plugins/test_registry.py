"""Names to objects: entry points, a user's own file, and what is said when that goes wrong."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import registry
from harness.catalogue import find_task
from harness.core.errors import EnvironmentFault, HarnessError
from harness.metrics.context import MetricContext
from harness.testing import samples_of
from tests.conftest import FAKE, Ran

Harness = Callable[..., Ran]
SCORE = "def score(completion, references):\n    return float(completion[:1] == references[0][:1])\n"


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make a distribution that offers entry points, as pip would leave it; gives the folder it is installed in."""

    def make(name: str, entry_points: str, version: str = "1.0", **modules: str) -> Path:
        site = tmp_path / f"site-{name}"
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(entry_points)
        for module, source in modules.items():
            (site / f"{module}.py").write_text(source)
            monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.syspath_prepend(str(site))
        return site

    return make


def error(call: Callable[[], object]) -> HarnessError:
    with pytest.raises(HarnessError) as caught:
        call()
    return caught.value


def test_unknown_name_gets_the_nearest_ones() -> None:
    err = error(lambda: registry.load("metrics", "exact_mach"))
    assert (err.code, "did you mean exact_match" in err.what) == ("E-UNKNOWN", True)
    assert error(lambda: registry.load("judges", "anything")).code == "E-UNKNOWN"


def test_a_prefix_that_is_no_prefix_is_not_cut_off_in_silence() -> None:
    err = error(lambda: registry.load("metrics", "exact_match:strict"))
    assert (err.code, "exact_match" in err.what) == ("E-UNKNOWN", True)


def test_a_published_metric_is_the_entry_point_before_its_colon() -> None:
    assert registry.load("metrics", "hf:rouge") is registry.load("metrics", "hf")
    assert registry.load("metrics", "hf:own/metric.py") is registry.load("metrics", "hf")


def test_listing_a_plug_in_imports_nothing(distribution: Callable[..., Path]) -> None:
    source = '"""Scores by mood."""\nraise RuntimeError("imported")\n'
    distribution("mood", "[harness.metrics]\nmood = mood_metric:create\n", mood_metric=source)
    found = {each.name: each for each in registry.listed("metrics")}
    assert (found["mood"].summary, found["mood"].origin) == ("Scores by mood.", "mood 1.0")
    assert "mood_metric" not in sys.modules


@pytest.mark.parametrize(
    ("source", "said", "fix"),
    [
        ("import no_such_library_at_all\n", "No module named 'no_such_library_at_all'", "pip install no_such_library"),
        ("raise RuntimeError('one\\ntwo')\n", "RuntimeError: one", "pip install --force-reinstall mood"),
        ("import sys; sys.exit(3)\n", "SystemExit: 3", "pip install --force-reinstall mood"),
        ("def (\n", "SyntaxError", "pip install --force-reinstall mood"),
        ("created = 1\n", "AttributeError", "pip install --force-reinstall mood"),
    ],
)
def test_a_plug_in_that_cannot_be_imported_is_named_with_its_distribution(
    distribution: Callable[..., Path], source: str, said: str, fix: str
) -> None:
    distribution("mood", "[harness.metrics]\nmood = mood_metric:create\n", mood_metric=source)
    err = error(lambda: registry.load("metrics", "mood"))
    assert isinstance(err, EnvironmentFault)
    assert err.code == "E-PLUGIN"
    assert "mood 1.0" in err.what
    assert "mood_metric:create" in err.what
    assert said in err.what
    assert "\n" not in err.what
    assert err.fix.startswith(fix)


@pytest.mark.parametrize(
    ("kind", "source", "said"),
    [
        ("metrics", "thing = 3\n", "no metric"),
        ("trainers", "thing = object()\n", "it has no spec_type, backends, settle, plan, train"),
        ("backends", "class thing:\n    identify = create = None\n", "it is the class"),
        ("reporters", "thing = {}\n", "it has no render"),
    ],
)
def test_an_object_of_the_wrong_kind_is_refused_when_it_is_loaded(
    distribution: Callable[..., Path], kind: registry.Kind, source: str, said: str
) -> None:
    distribution("odd", f"[harness.{kind}]\nodd = odd_thing:thing\n", odd_thing=source)
    err = error(lambda: registry.load(kind, "odd"))
    assert (err.code, said in err.what, "odd 1.0" in err.what) == ("E-PLUGIN", True, True)


def test_a_name_that_two_distributions_offer_is_refused_with_both(distribution: Callable[..., Path]) -> None:
    for name in ("first", "second"):
        distribution(name, f"[harness.metrics]\nmood = {name}_metric:create\n", **{f"{name}_metric": ""})
    err = error(lambda: registry.load("metrics", "mood"))
    assert err.code == "E-CLASH"
    assert err.details == ("first 1.0: first_metric:create", "second 1.0: second_metric:create")
    assert "pip uninstall first or second" in err.fix
    rows = [each for each in registry.listed("metrics") if each.name == "mood"]
    assert [each.origin for each in rows] == ["first 1.0", "second 1.0"]
    assert all("more than one distribution" in each.problem for each in rows)


def test_a_third_party_cannot_take_a_name_of_the_harness_in_silence(distribution: Callable[..., Path]) -> None:
    distribution("usurper", "[harness.metrics]\nexact_match = usurper_metric:create\n", usurper_metric="")
    err = error(lambda: registry.load("metrics", "exact_match"))
    assert err.code == "E-CLASH"
    assert "pip uninstall usurper;" in err.fix
    assert "sft-harness" not in err.fix


def test_the_same_distribution_twice_on_the_path_is_one(distribution: Callable[..., Path], tmp_path: Path) -> None:
    site = distribution(
        "twice", "[harness.metrics]\ntwice = twice_metric:create\n", twice_metric="def create(c): ...\n"
    )
    sys.path.append(str(site) + "/../" + site.name)
    try:
        assert callable(registry.load("metrics", "twice"))
    finally:
        sys.path.pop()


def test_task_packages_are_found_without_importing_them(distribution: Callable[..., Path]) -> None:
    points = "[harness.tasks]\nalone = lone_tasks\npacked = packed_tasks.inner\nlost = no_such_package.tasks\n"
    site = distribution("tasks-dist", points, lone_tasks="raise RuntimeError\n")
    (site / "packed_tasks" / "inner").mkdir(parents=True)
    (site / "packed_tasks" / "__init__.py").write_text("raise RuntimeError\n")
    assert {(site, "tasks-dist 1.0"), (site / "packed_tasks" / "inner", "tasks-dist 1.0")} <= set(registry.task_roots())
    lost = next(package for package in registry.task_packages() if package.name == "lost")
    assert (lost.folder, lost.origin) == (None, "tasks-dist 1.0")


def test_a_metric_out_of_a_file_is_the_tasks_own_before_the_current_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, here = tmp_path / "task", tmp_path / "here"
    for folder, value in ((task, 1.0), (here, 0.0)):
        folder.mkdir()
        (folder / "own.py").write_text(f"def score(completion, references):\n    return {value}\n")
    monkeypatch.chdir(here)
    samples = samples_of(["a", "b"])
    values = []
    for folder in (task, None):
        maker = registry.load("metrics", "own.py:score", folder=folder)
        metric = maker(MetricContext("own.py:score", samples, {}))  # type: ignore[operator]
        values.append(float(metric.value(metric.measure(samples, ["a", "b"]).sum(axis=0))))
        digest = hashlib.sha256(((folder or here) / "own.py").read_bytes()).hexdigest()
        assert registry.source_digest("own.py:score", folder) == digest
        assert digest[:12] in metric.signature
    assert values == [1.0, 0.0]
    assert registry.source_digest("exact_match") is None


def test_an_edited_file_is_read_anew_even_within_the_same_second(tmp_path: Path) -> None:
    """Python's own bytecode cache goes by second and size."""
    file = tmp_path / "own.py"
    found = []
    for value in ("1", "2"):
        file.write_text(f"thing = type('T', (), {{'render': {value}}})()\n")
        found.append(registry.load("reporters", "own.py:thing", folder=tmp_path).render)  # type: ignore[attr-defined]
    assert found == [1, 2]
    assert not (tmp_path / "__pycache__").exists()


def test_a_file_may_import_what_stands_beside_it_each_task_its_own(tmp_path: Path) -> None:
    values = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        (folder / "more").mkdir(parents=True)
        (folder / "own_helpers.py").write_text(f"VALUE = {number}\n")
        (folder / "more" / "inner.py").write_text("from own_helpers import VALUE\n")
        # What is installed, or Python's own, is not shadowed.
        (folder / "json.py").write_text("raise RuntimeError\n")
        source = "import json\nfrom more.inner import VALUE\nthing = type('T', (), {'render': VALUE})()\n"
        (folder / "own.py").write_text(source)
        values.append(registry.load("reporters", "own.py:thing", folder=folder).render)  # type: ignore[attr-defined]
        assert not list(folder.rglob("__pycache__"))
        assert str(folder) not in sys.path
    assert values == [1, 2]
    assert "own_helpers" not in sys.modules


@pytest.mark.parametrize(
    ("source", "name", "said"),
    [
        (None, "own.py:score", "there is no file 'own.py'"),
        ("x = 1\ndef score(\n", "own.py:score", "own.py:2: SyntaxError"),
        ("x = 1\n\nraise ValueError('\\x1b[31m no')\n", "own.py:score", "own.py:3: ValueError: \\x1b[31m no"),
        ("import no_such_library_at_all\n", "own.py:score", "own.py:1: ModuleNotFoundError"),
        (SCORE, "own.py:scroe", "has no 'scroe'; did you mean score?"),
        (SCORE, "own.py:", "has no ''; it has: score"),
        ("score = 1.0\n", "own.py:score", "this is float"),
        (b"x = '\xff'\n", "own.py:score", "SyntaxError"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(
    tmp_path: Path, source: str | bytes | None, name: str, said: str
) -> None:
    if source is not None:
        (tmp_path / "own.py").write_bytes(source if isinstance(source, bytes) else source.encode())
    err = error(lambda: registry.load("metrics", name, folder=tmp_path))
    assert (err.code, err.exit_code) == ("E-PLUGIN", 2)
    assert said in err.what


def test_a_run_measures_with_a_function_out_of_the_tasks_folder(harness: Harness, echo_task: Path) -> None:
    (echo_task / "own.py").write_text(SCORE)
    ran = harness("run", f"task={echo_task}", *FAKE, "metric=own.py:score")
    assert ran.code == 0, ran.err
    assert "own.py:score" in ran.out
    first = sorted(Path("runs/echo").iterdir())
    (echo_task / "own.py").write_text(SCORE + "\n# Another file is another run.\n")
    assert harness("run", f"task={echo_task}", *FAKE, "metric=own.py:score").code == 0
    assert len(sorted(Path("runs/echo").iterdir())) == len(first) + 1
    broken = harness("run", f"task={echo_task}", *FAKE, "metric=own.py:scroe")
    assert (broken.code, "did you mean score?" in broken.err) == (2, True)


def test_a_task_that_two_distributions_offer_is_refused_unless_named_by_path(
    distribution: Callable[..., Path], harness: Harness
) -> None:
    site = distribution("tasks-dist", "[harness.tasks]\nmine = mine_tasks\n", mine_tasks="")
    (site / "headlines").mkdir()
    (site / "headlines" / "task.toml").write_text('name = "headlines"\n')
    err = error(lambda: find_task("headlines"))
    assert err.code == "E-CLASH"
    assert [detail.partition(":")[0] for detail in err.details] == ["sft-harness", "tasks-dist 1.0"]
    assert find_task(str(site / "headlines")) == site / "headlines"
    assert "orders" in harness("list", "tasks").out
