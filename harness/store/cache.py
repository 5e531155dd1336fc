"""What runs of one folder share, by content: asked of the same model before, or rendered before, is not done again.

An entry is one file, its first line the hash of the rest; one that does not verify is no entry. The folder may be
deleted at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.store import disk
from harness.store.encoding import sha256

FOLDER = ".cache"
GENERATIONS = "generations"
RENDERINGS = "renderings"


class ContentCache:
    """Bytes by a key that covers all that decides them. kind: the folder below that of all caches."""

    def __init__(self, runs: Path, kind: str) -> None:
        self._root = runs / FOLDER / kind

    def get(self, key: str) -> bytes | None:
        """The entry of a key, verified; None where there is none."""
        try:
            digest, _, content = self._file(key).read_bytes().partition(b"\n")
        except OSError:
            return None
        return content if sha256(content).encode() == digest else None

    def put(self, key: str, content: bytes) -> None:
        """Keep an entry. Another process that writes the same one writes the same bytes."""
        disk.make_folder(self._file(key).parent)
        disk.write_atomic(self._file(key), sha256(content).encode() + b"\n" + content)

    def _file(self, key: str) -> Path:
        return self._root / key[:2] / key[2:]


@dataclass(frozen=True, slots=True)
class CachedGeneration:
    """The bytes of an evaluation's outcomes.jsonl and of its adapter.json."""

    outcomes: bytes
    proof: bytes


class GenerationCache:
    """Whole evaluations. A key covers token ids, decoding, the model's and the checkpoint's bytes, and the backend."""

    def __init__(self, runs: Path) -> None:
        self._entries = ContentCache(runs, GENERATIONS)

    def get(self, key: str) -> CachedGeneration | None:
        """The evaluation of a key; None where there is none."""
        content = self._entries.get(key)
        if content is None:
            return None
        proof, _, outcomes = content.partition(b"\0")
        return CachedGeneration(outcomes, proof)

    def put(self, key: str, made: CachedGeneration) -> None:
        """Keep an evaluation."""
        self._entries.put(key, made.proof + b"\0" + made.outcomes)
