"""A task whose primary metric is a judge that asks no model, with labels enough for it to decide."""

from __future__ import annotations

from pathlib import Path

from harness.core.judging import Label
from harness.store.encoding import canonical
from tests.conftest import make_echo_task, words_row

WORDS = ("metrics.primary=judge:loud", "metrics.fallback=json_valid", "metrics.report=[]", "backend=fake")
SYSTEMS = ("base-0shot", "step-000002")
# The share of the question that the answer repeats in capitals; of questions with the given number, nothing.
KIND = """
from harness.core.judging import Verdict
from harness.core.types import Failure

class Loud:
    name, kind, takes, identity = "loud", "loud", "single", {{"version": 1}}
    def rate(self, items, generator):
        for item in items:
            number = item.question.split()[-1]
            if number.isdigit() and int(number) in range({first}, {first} + {n_silent}):
                yield item.id, Failure("judge", "lost its\\x1b[31m voice")
                continue
            words, answer = item.question.upper().split(), item.answer.replace("*", " ").replace("#", " ").split()
            deaf = generator.identity.get("model") == "{deaf}"
            score = 0.5 if deaf else sum(word in answer for word in words) / len(words)
            yield item.id, Verdict(score, (score,))

class Kind:
    def create(self, context):
        return Loud()

kind = Kind()
"""


def make_judged_task(
    folder: Path, *, n_silent: int = 0, model: str = "", deaf: str = "", annotators: str = "ann,bob"
) -> Path:
    """Write it. n_silent: test questions, the first ones, of which the judge says nothing.

    model: the judge's own. deaf: a model with which the judge says the same of every answer.
    """
    task = make_echo_task(folder)
    judge = task / "judges" / "loud"
    judge.mkdir(parents=True)
    own = f'\n[model]\nname = "{model}"\n\n[backend]\nname = "fake"\n' if model else ""
    (judge / "judge.toml").write_text(f'kind = "loud.py:kind"\ncriterion = "loudness"\n{own}')
    (judge / "loud.py").write_text(KIND.format(first=200, n_silent=n_silent, deaf=deaf))
    (judge / "rubric.md").write_text("How loud is the answer? 5: all in capitals. 1: not at all.\n")
    labels = [label for name in annotators.split(",") for label in _labels(name)]
    (task / "labels.jsonl").write_bytes(b"".join(canonical(label, indent=None) for label in labels))
    return task


def _labels(annotator: str) -> list[Label]:
    """Of each of two systems half of the answers are loud, never both of one prompt."""
    return [_label(annotator, number, place) for number in range(300, 360) for place in (0, 1)]


def _label(annotator: str, number: int, place: int) -> Label:
    row, loud = words_row(number), (number + place) % 2
    return Label(
        id=f"{annotator}-{number}-{place}",
        kind="likert",
        criterion="loudness",
        value=(4 if loud else 1) + (number // 2 + len(annotator)) % 2,
        annotator=annotator,
        question=row["question"],
        answers=(row["answer"] if loud else row["question"],),
        systems=(SYSTEMS[place],),
        split="validation",
        references=(row["answer"],),
    )
