"""Which skill comes when: the final mix of episodes and the curriculum that leads to it."""

from collections.abc import Callable, Iterator

from harness.demo.corpus.classify import classify
from harness.demo.corpus.dice import Dice
from harness.demo.corpus.drills import association, copy, lookup, prose
from harness.demo.corpus.episode import Episode
from harness.demo.corpus.headlines import headline
from harness.demo.corpus.records import extract, qa, reformat

Skill = Callable[[Dice], Episode]

FINAL: tuple[tuple[Skill, float], ...] = (
    (classify, 0.44),
    (headline, 0.15),
    (qa, 0.13),
    (extract, 0.11),
    (reformat, 0.06),
    (copy, 0.05),
    (association, 0.025),
    (lookup, 0.025),
    (prose, 0.01),
)
# Short episodes of pure copying and looking up; without them first, in-context learning did not appear at this size.
FIRST: tuple[tuple[Skill, float], ...] = ((copy, 0.35), (reformat, 0.25), (association, 0.2), (lookup, 0.2))
CURRICULUM = 0.3


def episodes(seed: int, n: int) -> Iterator[Episode]:
    """The first to the n-th episode of the corpus; episode i depends on seed, i and n alone.

    Over the first 30 % the drills give way to the final mix.
    """
    for i in range(n):
        dice = Dice(f"{seed}/corpus/{i}")
        drill = dice.chance(1 - i / (CURRICULUM * n))
        yield dice.weighted(FIRST if drill else FINAL)(dice)


def of_skill(seed: int, split: str, n: int, skills: tuple[Skill, ...]) -> Iterator[Episode]:
    """Episodes outside the corpus, the skills in turn."""
    for i in range(n):
        yield skills[i % len(skills)](Dice(f"{seed}/{split}/{i}"))
