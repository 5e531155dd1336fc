"""An episode of the corpus: one chat with one instruction and one to several worked examples."""

from dataclasses import dataclass

from harness.demo.corpus.dice import Dice
from harness.demo.corpus.words import any_word, invented

# Six turns of a report and its headline stay below the 512 tokens of a training row.
MAX_CHARS = 1500


@dataclass(frozen=True, slots=True)
class Episode:
    """One chat: an instruction (or none) and (user, assistant) turns that all follow it.

    told: the instruction is there and allows one answer only, so no example is needed.
    """

    skill: str
    system: str | None
    turns: tuple[tuple[str, str], ...]
    told: bool = False


def n_turns(dice: Dice) -> int:
    """How many examples an episode shows: often one (zero-shot), mostly several (few-shot)."""
    return dice.weighted(((1, 20), (2, 10), (3, 15), (4, 20), (5, 25), (6, 10)))


def assemble(dice: Dice, skill: str, instruction: str, pairs: list[tuple[str, str]], told: bool = False) -> Episode:
    """Put the instruction where chats have it: in the system turn, before the first input, or before each.

    Several worked examples may also stand without any instruction. Turns that would make the episode
    too long for a training row are dropped.
    """
    kept: list[tuple[str, str]] = []
    room = MAX_CHARS - len(instruction)
    for pair in pairs:
        room -= len(pair[0]) + len(pair[1])
        if room < 0 and kept:
            break
        kept.append(pair)
    place = dice.weighted((("system", 55), ("first", 20), ("each", 10), ("none", 15 if len(kept) > 2 else 0)))
    if place == "system":
        return Episode(skill, _system(dice, instruction), tuple(kept), told)
    if place == "first":
        kept[0] = (f"{instruction}\n{kept[0][0]}", kept[0][1])
    elif place == "each":
        kept = [(f"{instruction}\n{user}", answer) for user, answer in kept]
    return Episode(skill, None, tuple(kept), told and place != "none")


def _system(dice: Dice, instruction: str) -> str:
    """The instruction as a system turn, now and then with a name or a remark around it."""
    return dice.weighted(
        (
            (instruction, 14),
            (f"You are {invented(dice).capitalize()}. {instruction}", 2),
            (f"You help the {any_word(dice)} team. {instruction}", 2),
            (f"{instruction} Follow the house style.", 2),
            (f"{instruction} Be brief.", 1),
        )
    )
