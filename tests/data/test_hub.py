"""Data sets of the Hub: named, pinned to a commit, and refused within seconds where they cannot be reached."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.errors import HarnessError
from harness.core.specs import TaskSpec
from harness.data import read
from harness.data.hub import parse_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TRAIN = [{"prompt": f"q{n}", "completion": "a"} for n in range(6)]
TEST = [{"prompt": f"t{n}", "completion": "b"} for n in range(2)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf:owner/name", ("owner/name", None, None, "validation")),
        ("hf:owner/name@v1.0", ("owner/name", None, "v1.0", "validation")),
        ("hf:owner/name/conf ig".replace(" ", "-"), ("owner/name", "conf-ig", None, "validation")),
        ("hf:owner/name/en@refs/pr/1#test", ("owner/name", "en", "refs/pr/1", "test")),
        ("hf:owner/name#train[:10]", ("owner/name", None, None, "train[:10]")),
    ],
)
def test_a_source_names_repository_config_revision_and_split(text: str, parts: tuple[str | None, ...]):
    source = parse_source(text, "validation")
    assert (source.repository, source.config, source.revision, source.split) == parts


@pytest.mark.parametrize(
    "text", ["hf:", "hf:name", "hf:../etc", "hf:a/b c", "hf:a/b@", "hf:a/b#", "hf:/a/b", "hf:-a/b"]
)
def test_what_is_no_source_is_refused_with_the_form(text: str):
    with pytest.raises(HarnessError) as caught:
        parse_source(text, "train")
    assert caught.value.code == "E-HUB"
    assert "hf:owner/name" in caught.value.fix


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """The library's two functions, answering for one data set; what `load_dataset` was asked."""
    import datasets
    import huggingface_hub

    asked: list[dict[str, object]] = []

    class Info:
        sha = COMMIT

    class Api:
        def dataset_info(self, repository: str, *, revision: str, timeout: float) -> Info:
            assert timeout <= 10
            return Info()

    def load_dataset(path: str, name: str | None, *, revision: str, split: str) -> datasets.Dataset:
        asked.append({"path": path, "name": name, "revision": revision, "split": split})
        if split not in ("train", "test"):
            raise ValueError(f"Unknown split \"{split}\". Should be one of ['train', 'test'].")
        return datasets.Dataset.from_list(TRAIN if split == "train" else TEST)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_rows_are_read_at_the_resolved_commit_and_recorded_with_it(
    tmp_path: Path, make_task: Callable[..., TaskSpec], fake_hub: list[dict[str, object]]
):
    dataset = read(make_task(train="hf:owner/name/en@main", test="hf:owner/name/en@main"), tmp_path, drop_bad=False)
    assert fake_hub == [
        {"path": "owner/name", "name": "en", "revision": COMMIT, "split": "train"},
        {"path": "owner/name", "name": "en", "revision": COMMIT, "split": "test"},
    ]
    assert {sample.question for sample in dataset.samples} == {row["prompt"] for row in (*TRAIN, *TEST)}
    lines = "".join(json.dumps({"completion": row["completion"], "prompt": row["prompt"]}) + "\n" for row in TEST)
    rows_hash = hashlib.sha256(lines.encode()).hexdigest()
    assert dataset.record.files["hf:owner/name/en@main#test"] == f"commit {COMMIT}, rows {rows_hash}"
    assert {sample.origin for sample in dataset.split("test")} == {f"hf:owner/name/en@main#test:{n}" for n in (1, 2)}


def test_rows_of_the_hub_are_the_same_samples_as_rows_of_a_file(
    tmp_path: Path, make_task: Callable[..., TaskSpec], fake_hub: list[dict[str, object]]
):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in TRAIN))
    local = read(make_task(source="rows.jsonl"), tmp_path, drop_bad=False)
    assert read(make_task(source="hf:owner/name"), tmp_path, drop_bad=False).record.sha256 == local.record.sha256


def test_the_same_split_twice_is_the_same_data(
    tmp_path: Path, make_task: Callable[..., TaskSpec], fake_hub: list[dict[str, object]]
):
    dataset = read(make_task(train="hf:owner/name", test="hf:owner/name#train"), tmp_path, drop_bad=False)
    assert [finding.code for finding in dataset.findings] == ["E-SAMEFILE"]


def test_an_unknown_split_is_one_sentence_of_the_librarys(
    tmp_path: Path, make_task: Callable[..., TaskSpec], fake_hub: list[dict[str, object]]
):
    with pytest.raises(HarnessError, match="Unknown split") as caught:
        read(make_task(source="hf:owner/name#dev"), tmp_path, drop_bad=False)
    assert caught.value.code == "E-HUB"


@pytest.mark.parametrize("source", ["hf:owner/name", f"hf:owner/name@{COMMIT}"])
@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "offline"),
        # A port of this machine at which nobody listens: refused at once, whatever network there is.
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot be reached"),
    ],
    ids=["offline", "unreachable"],
)
def test_without_the_hub_there_is_one_error_within_seconds(
    tmp_path: Path, environment: dict[str, str], says: str, source: str
):
    started = time.monotonic()
    program = "import sys; from harness.cli import main; sys.argv = ['harness', 'data', 'show', sys.argv[1]]; main()"
    ran = subprocess.run(
        [sys.executable, "-c", program, source],
        env={
            "PATH": "",
            "HF_HOME": str(tmp_path),
            "HOME": str(tmp_path),
            "PYTHONPATH": ":".join(sys.path),
            **environment,
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.startswith("error[E-HUB]:")
    assert says in ran.stderr.casefold()
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr.splitlines()) == 2
    assert time.monotonic() - started < 30
