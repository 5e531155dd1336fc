"""Write the data files of the shipped tasks: the same bytes every time.

python -m harness.demo.tasks [--tasks tasks]
"""

import argparse
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.demo.corpus import Dice, Episode
from harness.demo.shipped import general, headlines, orders, tickets

Row = dict[str, str]
SEED = 20
SIZES = {"train": 200, "validation": 80, "test": 200}
SMALL = {"train": 60, "validation": 60, "test": 240}
NGRAM = 13

# Each task: how a row is drawn, which fields make its input, how many rows a split has.
TASKS: dict[str, tuple[Callable[[Dice], Row], tuple[str, ...], dict[str, int]]] = {
    "headlines": (headlines.draw, ("report",), SIZES),
    "tickets": (tickets.draw, ("message",), SIZES),
    "orders": (orders.draw, ("record", "question"), SIZES),
    "general": (general.draw, ("prompt",), SMALL),
}


def folded(text: str) -> str:
    """The text without case, punctuation and repeated space: what makes two inputs the same."""
    return " ".join(re.findall(r"\w+", text.lower()))


def rows(task: str) -> Iterator[tuple[str, Row]]:
    """(split, row) of every row of the task; no two share an input or a run of 13 words of it."""
    draw, fields, sizes = TASKS[task]
    dice = Dice(f"{SEED}/{task}")
    seen: set[str] = set()
    for split, size in sizes.items():
        n = 0
        while n < size:
            row = draw(dice)
            text = input_text(row, fields)
            traces = word_runs(text) | {folded(text)}
            if seen.isdisjoint(traces):
                seen |= traces
                n += 1
                yield split, {"id": f"{task}-{split}-{n:03d}", **row}


def input_text(row: Row, fields: tuple[str, ...]) -> str:
    """The row's input, as the task's prompt template joins it."""
    return "\n".join(row[field] for field in fields)


def held_out() -> set[str]:
    """The folded input of every row of every task: none may be a user turn of the corpus."""
    return {folded(input_text(row, fields)) for task, (_, fields, _) in TASKS.items() for _, row in rows(task)}


def inputs_of(episode: Episode) -> set[str]:
    """The folded inputs of a corpus episode, each with and without the system turn's text before it."""
    users = {user for user, _ in episode.turns}
    return {folded(text) for text in users | {f"{episode.system}\n{user}" for user in users}}


def word_runs(text: str) -> set[str]:
    """Each run of 13 words of the folded text: two texts that share one are nearly the same."""
    words = folded(text).split()
    return {" ".join(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)}


def write(folder: Path) -> None:
    """Write <task>/<split>.jsonl below the folder."""
    for task, (_, _, sizes) in TASKS.items():
        lines: dict[str, list[str]] = {split: [] for split in sizes}
        for split, row in rows(task):
            lines[split].append(json.dumps(row, ensure_ascii=False))
        (folder / task).mkdir(parents=True, exist_ok=True)
        for split, texts in lines.items():
            (folder / task / f"{split}.jsonl").write_text("\n".join(texts) + "\n", encoding="utf-8", newline="\n")


def main() -> None:
    """Read the arguments and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=Path, default=Path("tasks"), help="the folder of task folders")
    folder: Path = parser.parse_args().tasks
    write(folder)
    print(f"written: {', '.join(TASKS)} in {folder}")


if __name__ == "__main__":
    main()
