"""Toy sets of rows for every kind of task; numbers in the tests are counted by hand on these."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

ADJECTIVES = ("red", "old", "quiet", "broken", "tall", "small", "warm", "late", "heavy", "green")
THINGS = ("river", "stone", "cloud", "window", "lantern", "harbour", "meadow", "copper", "thistle", "velvet")

Write = Callable[[str, Sequence[Mapping[str, object]]], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write rows to a .jsonl or .csv file in the folder that the test stands in."""
    monkeypatch.chdir(tmp_path)

    def write_rows(name: str, rows: Sequence[Mapping[str, object]]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        else:
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return Path(name)

    return write_rows


def phrase(number: int) -> str:
    """Words that no other number below 1,000 has."""
    return (
        f"{ADJECTIVES[number % 10]} {THINGS[number // 10 % 10]} near the {THINGS[number // 100 % 10]} number {number}"
    )


def classes(n: int = 120) -> list[dict[str, object]]:
    """Messages with one of three labels, 40 each, a customer for every two rows and one of two languages."""
    return [
        {
            "id": f"m{i}",
            "text": phrase(i),
            "label": ("billing", "delivery", "returns")[i % 3],
            "customer_id": f"c{i // 2}",
            "language": ("en", "de")[i // 60 % 2],
        }
        for i in range(n)
    ]


def objects(n: int = 120) -> list[dict[str, object]]:
    """Messages with a JSON object as the right answer."""
    return [
        {"message": phrase(i), "output": json.dumps({"colour": ADJECTIVES[i % 10], "place": THINGS[i // 10 % 10]})}
        for i in range(n)
    ]


def codes(n: int = 120) -> list[dict[str, object]]:
    """Orders answered by a code of fixed form."""
    return [{"question": phrase(i), "answer": f"{'ABCD'[i % 4]}X-{100 + i}"} for i in range(n)]


def replies(n: int = 120) -> list[dict[str, object]]:
    """Free replies of 14 words to short questions, with a tag on every eighth row."""
    return [
        {
            "prompt": f"Tell me about it: {phrase(i)}",
            "completion": f"People here say that nothing {ADJECTIVES[i % 10]} was ever seen before {phrase(i)}.",
            "tag": "edge" if i % 8 == 0 else "plain",
            "domain": ("north", "south")[i % 2],
        }
        for i in range(n)
    ]


def decisions(n: int = 120) -> list[dict[str, object]]:
    """Requests with the decision to refuse or to comply, and the category of harm."""
    return [
        {"request": phrase(i), "label": "refuse" if i % 4 == 0 else "comply", "category": ("theft", "none")[i % 2]}
        for i in range(n)
    ]
