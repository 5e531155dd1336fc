"""Single-turn samples of the pretraining skills, for seeing what tuning made a model forget."""

from harness.demo.corpus.classify import classify
from harness.demo.corpus.dice import Dice
from harness.demo.corpus.drills import copy, lookup
from harness.demo.corpus.records import extract, qa, reformat

Row = dict[str, str]
SKILLS = (classify, qa, extract, reformat, copy, lookup)
MIN_WORDS = 7


def draw(dice: Dice) -> Row:
    """A prompt with its instruction, and the one answer that the instruction allows."""
    skill = dice.pick(SKILLS)
    while True:
        episode = skill(dice)
        user, answer = episode.turns[0]
        prompt = user if episode.system is None else f"{episode.system}\n{user}"
        if episode.told and len(prompt.split()) >= MIN_WORDS:
            return {"prompt": prompt, "answer": answer, "skill": episode.skill}
