"""Data sets of the Hugging Face Hub: `hf:owner/name`, pinned to the commit that was read.

The libraries are imported where a data set is asked for, because starting the command line must not wait for them.
No code of a data set ever runs: the library reads data files only.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.core.errors import HarnessError
from harness.core.types import Split
from harness.data.display import escape, quote
from harness.data.problems import Problem
from harness.data.rows import Row
from harness.data.tables import table_rows

if TYPE_CHECKING:
    import pyarrow as pa

PREFIX = "hf:"
TIMEOUT_S = 5.0
_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_SOURCE = re.compile(
    rf"hf:(?P<repository>{_WORD}/{_WORD})(?:/(?P<config>[^@#/\s]+))?(?:@(?P<revision>[^#\s]+))?(?:#(?P<split>[^#\s]+))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FORM = "hf:owner/name, with /config, @revision and #split as needed: hf:owner/name/config@main#train"


@dataclass(frozen=True, slots=True)
class HubSource:
    """A data set on the Hub, as a task names it."""

    repository: str
    config: str | None
    revision: str | None
    split: str

    @property
    def name(self) -> str:
        """How people and records call it."""
        config = f"/{self.config}" if self.config else ""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{PREFIX}{self.repository}{config}{revision}#{self.split}"


class HubRows:
    """The rows of one data set. After the last one `sha256` names the commit and the hash of the rows."""

    has_bom = False

    def __init__(self, source: HubSource, *, limit: int) -> None:
        self.source = source
        self.name = source.name
        self.limit = limit
        self.sha256 = ""

    def __iter__(self) -> Iterator[Row | Problem]:
        commit = resolve(self.source)
        schema, batches = load(self.source, commit)
        digest = hashlib.sha256()
        for item in table_rows(batches, schema, self.name, limit=self.limit):
            if isinstance(item, Row):
                digest.update(json.dumps(item.fields, sort_keys=True).encode() + b"\n")
            yield item
        self.sha256 = f"commit {commit}, rows {digest.hexdigest()}"


def parse_source(text: str, split: Split) -> HubSource:
    """`hf:owner/name/config@revision#split`; the split is the one that the task's key names where it is left out."""
    match = _SOURCE.fullmatch(text)
    if match is None:
        raise HarnessError(f"{quote(text)} is not a data set of the Hub", fix=f"write {_FORM}", code="E-HUB")
    return HubSource(match["repository"], match["config"], match["revision"], match["split"] or split)


def resolve(source: HubSource) -> str:
    """The commit that a source stands for now. E-HUB within seconds where the Hub cannot say."""
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_OFFLINE

    revision = source.revision or "main"
    if HF_HUB_OFFLINE and _COMMIT.fullmatch(revision):
        return revision
    with _explained(source):
        commit = HfApi().dataset_info(source.repository, revision=revision, timeout=TIMEOUT_S).sha
    if commit is None or not _COMMIT.fullmatch(commit):
        raise _error(source, "the Hub names no commit", "name one: @ and its 40 digits")
    return commit


def load(source: HubSource, commit: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The columns and the rows of a split at a commit, from the library's cache or downloaded into it."""
    import datasets

    datasets.disable_progress_bars()
    with _explained(source):
        found = datasets.load_dataset(source.repository, source.config, revision=commit, split=source.split)
    table = found.data.table
    return table.schema, iter(table.to_batches(max_chunksize=1024))


@contextmanager
def _explained(source: HubSource) -> Iterator[None]:
    """Whatever the libraries raise, as one sentence: what was asked for, what is wrong, what to do. E-HUB."""
    from huggingface_hub import errors

    quiet = logging.getLogger("huggingface_hub")
    level = quiet.level
    quiet.setLevel(logging.CRITICAL)
    try:
        yield
    except errors.GatedRepoError as error:
        raise _error(
            source, "its owner must let you in first", "ask on its page, then log in: hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise _error(source, f"it has no revision {quote(source.revision or 'main')}", "name another one") from error
    except errors.RepositoryNotFoundError as error:
        fix = "correct the name, or log in if it is private: hf auth login"
        raise _error(source, "there is no such data set, or not for you", fix) from error
    except errors.OfflineModeIsEnabled as error:
        fix = "unset HF_HUB_OFFLINE, or name a commit (@ and its 40 digits) that was downloaded before"
        raise _error(source, "HF_HUB_OFFLINE is set", fix) from error
    except FileNotFoundError as error:
        raise _error(source, escape(str(error), 300), f"correct the name; the form is {_FORM}") from error
    except OSError as error:
        raise _error(source, _unreachable(error), _OFFLINE) from error
    except Exception as error:
        # httpx's errors of connection and time share no base class with the operating system's.
        if type(error).__module__.startswith("httpx"):
            raise _error(source, _unreachable(error), _OFFLINE) from error
        raise _error(source, f"{type(error).__name__}: {escape(str(error), 300)}", f"the form is {_FORM}") from error
    finally:
        quiet.setLevel(level)


_OFFLINE = "check the network, or download the data set elsewhere and name its files"


def _unreachable(error: Exception) -> str:
    return f"the Hub cannot be reached ({type(error).__name__}: {escape(str(error), 120)})"


def _error(source: HubSource, why: str, fix: str) -> HarnessError:
    return HarnessError(f"{quote(source.name, 200)} cannot be read: {why}", fix=fix, code="E-HUB")
