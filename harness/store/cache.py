"""Generations shared between the runs of one folder: what was asked of the same model before is not asked again.

A key covers everything that decides the outcomes: token ids, decoding, the model's and the checkpoint's bytes, the
tokenizer, the backend and its versions. An entry is one file, its first line the hash of the rest; one that does not
verify is no entry. The folder may be deleted at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.store import disk
from harness.store.encoding import sha256

FOLDER = ".cache/generations"


@dataclass(frozen=True, slots=True)
class CachedGeneration:
    """The bytes of an evaluation's outcomes.jsonl and of its adapter.json."""

    outcomes: bytes
    proof: bytes


class GenerationCache:
    """Entries below a folder of runs."""

    def __init__(self, runs: Path) -> None:
        self._root = runs / FOLDER

    def get(self, key: str) -> CachedGeneration | None:
        """The entry of a key, verified; None where there is none."""
        try:
            digest, _, content = self._file(key).read_bytes().partition(b"\n")
        except OSError:
            return None
        if sha256(content).encode() != digest:
            return None
        proof, _, outcomes = content.partition(b"\0")
        return CachedGeneration(outcomes, proof)

    def put(self, key: str, made: CachedGeneration) -> None:
        """Keep an entry. Another process that writes the same one writes the same bytes."""
        content = made.proof + b"\0" + made.outcomes
        disk.make_folder(self._file(key).parent)
        disk.write_atomic(self._file(key), sha256(content).encode() + b"\n" + content)

    def _file(self, key: str) -> Path:
        return self._root / key[:2] / key[2:]
