"""Write the data files of the shipped tasks: the same bytes every time.

python -m harness.demo.tasks [--tasks tasks]
"""

import argparse
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.demo.corpus import Dice, Episode
from harness.demo.shipped import delays, general, headlines, notices_zh, orders, replies, tickets

Row = dict[str, str]
SEED = 20
SIZES = {"train": 200, "validation": 80, "test": 200}
SMALL = {"train": 60, "validation": 60, "test": 240}
LARGE = {"train": 600, "validation": 200, "test": 200}
WRITING = {"train": 400, "validation": 120, "test": 200}
NGRAM = 13


def objects(rows: list[Row]) -> str:
    """JSON Lines: every field as drawn."""
    return lines(json.dumps(row, ensure_ascii=False) for row in rows)


def gemini(rows: list[Row]) -> str:
    """JSON Lines in the form of a Gemini tuning file."""
    return lines(map(notices_zh.chat, rows))


def table(rows: list[Row]) -> str:
    """CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def lines(texts: Iterable[str]) -> str:
    """Each text on a line of its own."""
    return "".join(f"{text}\n" for text in texts)


@dataclass(frozen=True, slots=True)
class Shipped:
    """A task's data: how a row is drawn, the template of its input, rows by split, and how a file is written."""

    draw: Callable[[Dice], Row]
    prompt: str
    sizes: dict[str, int]
    suffix: str = "jsonl"
    encode: Callable[[list[Row]], str] = objects


TASKS = {
    "headlines": Shipped(headlines.draw, "{report}", SIZES),
    "tickets": Shipped(tickets.draw, "{message}", SIZES),
    "orders": Shipped(orders.draw, "{record}\n{question}", SIZES),
    "general": Shipped(general.draw, "{prompt}", SMALL),
    "delays": Shipped(delays.draw, delays.PROMPT, LARGE, "csv", table),
    "notices-zh": Shipped(notices_zh.draw, "{note}", LARGE, "jsonl", gemini),
    "replies": Shipped(replies.draw, "{message}\nNotes: {notes}", WRITING),
}


def folded(text: str) -> str:
    """The text without case, punctuation and repeated space: what makes two inputs the same."""
    return " ".join(re.findall(r"\w+", text.lower()))


def rows(task: str) -> Iterator[tuple[str, Row]]:
    """(split, row) of every row of the task; no two share an input or a run of 13 words of it."""
    shipped = TASKS[task]
    dice = Dice(f"{SEED}/{task}")
    seen: set[str] = set()
    for split, size in shipped.sizes.items():
        n = 0
        while n < size:
            row = shipped.draw(dice)
            text = shipped.prompt.format(**row)
            traces = word_runs(text) | {folded(text)}
            if seen.isdisjoint(traces):
                seen |= traces
                n += 1
                yield split, {"id": f"{task}-{split}-{n:03d}", **row}


def held_out() -> set[str]:
    """The folded input of every row of every task: none may be a user turn of the corpus."""
    return {folded(shipped.prompt.format(**row)) for task, shipped in TASKS.items() for _, row in rows(task)}


def inputs_of(episode: Episode) -> set[str]:
    """The folded inputs of a corpus episode, each with and without the system turn's text before it."""
    users = {user for user, _ in episode.turns}
    return {folded(text) for text in users | {f"{episode.system}\n{user}" for user in users}}


def word_runs(text: str) -> set[str]:
    """Each run of 13 words of the folded text: two texts that share one are nearly the same."""
    words = folded(text).split()
    return {" ".join(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)}


def write(folder: Path) -> None:
    """Write <task>/<split>.<suffix> below the folder."""
    for task, shipped in TASKS.items():
        by_split: dict[str, list[Row]] = {split: [] for split in shipped.sizes}
        for split, row in rows(task):
            by_split[split].append(row)
        (folder / task).mkdir(parents=True, exist_ok=True)
        for split, drawn in by_split.items():
            file = folder / task / f"{split}.{shipped.suffix}"
            file.write_text(shipped.encode(drawn), encoding="utf-8", newline="\n")


def main() -> None:
    """Read the arguments and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=Path, default=Path("tasks"), help="the folder of task folders")
    folder: Path = parser.parse_args().tasks
    write(folder)
    print(f"written: {', '.join(TASKS)} in {folder}")


if __name__ == "__main__":
    main()
