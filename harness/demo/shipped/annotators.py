"""Simulated annotators of the replies task: what they look at, how strict they are, how far they disagree by chance.

No person labelled anything here. A reply has a quality that follows from it and the message alone; each annotator sees
that quality through a strictness and a noise of their own and gives one to five points. Every name they go by says that
they are simulated.

python -m harness.demo.shipped.annotators RUN --out tasks/replies/labels.jsonl

RUN is the folder of a `harness run task=replies`: what its candidates answered on validation is what is labelled.
"""

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from harness.core.judging import Label, text_hash
from harness.demo.corpus.dice import Dice
from harness.demo.shipped import replies
from harness.demo.tasks import TASKS, rows

SEED = 20
SCALE = 5
CRITERION = "helpfulness"
# Whose answers are labelled, and how many: untuned, early, in between and late.
SYSTEMS = {
    "base-0shot": 90,
    "base-4shot-draw0": 90,
    "step-000040": 110,
    "step-000060": 66,
    "step-000100": 70,
}
# Points of quality for each thing that is looked at; they add up to 1.
POLITENESS, PERTINENCE, HONESTY, BREVITY = 0.5, 0.25, 0.15, 0.1
# A reply of at most so many words is brief; one of twice as many is not brief at all.
BRIEF_WORDS = 28


@dataclass(frozen=True, slots=True)
class Annotator:
    """severity: points (of 1 to 5) taken off every reply; sd: of the noise, in points."""

    name: str
    severity: float
    sd: float


ANNOTATORS = (
    Annotator("simulated-1", 0.0, 0.5),
    Annotator("simulated-2", 0.3, 0.6),
    Annotator("simulated-3", -0.2, 0.7),
)


def quality(row: replies.Row, reply: str) -> float:
    """How good a reply is, in [0, 1]: a weighted sum of politeness, pertinence, honesty and brevity; 0 for none.

    >>> row = {"name": "Ada Berg", "message": "Is the price of the mug known? Ada Berg", "notes": "price: 9 euros"}
    >>> quality(row, "Dear Ada Berg, thank you for your message. The price of the mug is 9 euros. Kind regards")
    1.0
    >>> round(quality(row, "The price is 9 dollars."), 4)  # 0 + 0 + 0.15 * 3 / 4 + 0.1
    0.2125
    """
    if not re.search(r"\w", reply):
        return 0.0
    return (
        POLITENESS * politeness(row, reply)
        + PERTINENCE * pertinence(row, reply)
        + HONESTY * honesty(row, reply)
        + BREVITY * brevity(reply)
    )


def politeness(row: replies.Row, reply: str) -> float:
    """A third each for the customer's name behind 'Dear', for thanks, and for a closing; 0 for a rude word."""
    if "yourself" in reply:
        return 0.0
    return (f"Dear {row['name']}," in reply) / 3 + ("thank you" in reply) / 3 + ("regards" in reply[-20:]) / 3


def pertinence(row: replies.Row, reply: str) -> float:
    """1 if it holds what the shop knows, or says 'not known' where the shop knows nothing; else 0."""
    _, _, value = row["notes"].partition(": ")
    return float((value or "not known") in reply)


def honesty(row: replies.Row, reply: str) -> float:
    """1 without an invention, a quarter less for each invented word.

    A word is invented if neither the message, the notes nor the help desk's own phrases have it.
    """
    known = set(_words(f"{row['message']} {row['notes']}")) | _PHRASES
    return max(0.0, 1 - 0.25 * len({word for word in _words(reply) if word not in known}))


def brevity(reply: str) -> float:
    """1 up to BRIEF_WORDS words, falling to 0 at twice as many."""
    return min(1.0, max(0.0, 2 - len(reply.split()) / BRIEF_WORDS))


def labels_of_run(run: Path, guideline: str) -> Iterator[Label]:
    """Labels of what each system answered to some of the validation prompts, drawn by the seed; no answer twice."""
    asked = {row["id"]: row for split, row in rows("replies") if split == "validation"}
    labelled: set[tuple[str, str]] = set()
    for system, n_answers in SYSTEMS.items():
        file = run / "evaluations" / f"{system}.validation" / "outcomes.jsonl"
        outcomes = {row["id"]: row for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())}
        replied = {key: str(outcomes[key]["completion"]["text"]) for key in asked}
        drawn = Dice(f"{SEED}/replies/labels/{system}").shuffled(list(asked))
        chosen = [key for key in drawn if (key, replied[key]) not in labelled][:n_answers]
        labelled |= {(key, replied[key]) for key in chosen}
        for key in sorted(chosen):
            question = TASKS["replies"].prompt.format(**asked[key])
            yield from labels_of(asked[key], question, system, replied[key], guideline)


def labels_of(row: replies.Row, question: str, system: str, reply: str, guideline: str) -> list[Label]:
    """What each annotator says of a reply; the same text gets the same points every time."""
    return [_label(annotator, row, question, system, reply, guideline) for annotator in ANNOTATORS]


def main() -> None:
    """Read the arguments and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run of the task replies")
    parser.add_argument("--out", type=Path, default=Path("tasks/replies/labels.jsonl"))
    arguments = parser.parse_args()
    rubric = arguments.out.parent / "judges" / "quality" / "rubric.md"
    guideline = text_hash(rubric.read_text(encoding="utf-8"))
    lines = [json.dumps(_row(label), ensure_ascii=False) for label in labels_of_run(arguments.run, guideline)]
    arguments.out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    print(f"written: {len(lines)} labels by simulated annotators, {arguments.out}")


def _row(label: Label) -> dict[str, object]:
    """The label as a row of a file, without what is as usual."""
    usual = {field.name: field.default for field in fields(Label)}
    return {name: value for name, value in asdict(label).items() if value != usual[name]}


def _label(annotator: Annotator, row: replies.Row, question: str, system: str, reply: str, guideline: str) -> Label:
    points = 1 + (SCALE - 1) * quality(row, reply) - annotator.severity
    noise = annotator.sd * _normal(Dice(f"{SEED}/{annotator.name}/{text_hash(question, reply)}"))
    return Label(
        id=f"{annotator.name}-{text_hash(system, question, reply)[:12]}",
        kind="likert",
        criterion=CRITERION,
        value=min(SCALE, max(1, round(points + noise))),
        annotator=annotator.name,
        question=question,
        answers=(reply,),
        systems=(system,),
        sample=row["id"],
        split="validation",
        scale=SCALE,
        references=(row["reply"],),
        guideline=guideline,
    )


def _normal(dice: Dice) -> float:
    """A draw from nearly a normal distribution of mean 0 and standard deviation 1: twelve even draws, summed."""
    return sum(dice.between(0, 10**6) for _ in range(12)) / 10**6 - 6


def _words(text: str) -> list[str]:
    """Words and numbers, in lower case."""
    return re.findall(r"\w+", text.lower())


_PHRASES = frozenset(
    _words(
        " ".join(
            (
                *replies.THANKS,
                *replies.CLOSINGS,
                *replies.ANSWERS,
                *replies.UNKNOWN,
                *replies.RUDE,
                *replies.ASKS,
                "dear",
            )
        )
    )
)


if __name__ == "__main__":
    main()
