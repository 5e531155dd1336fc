"""Headline episodes: reports with a one-line headline in a house style that the examples show."""

from dataclasses import dataclass

from harness.demo.corpus import words
from harness.demo.corpus.dice import Dice
from harness.demo.corpus.domains import DOMAINS, INCIDENT, Domain, Event, draw, tell
from harness.demo.corpus.episode import Episode, assemble, n_turns


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of a headline: a slot's value between two strings."""

    slot: str
    before: str
    after: str


def headline(dice: Dice) -> Episode:
    """Reports with their one-line headlines, all in the house style of the episode."""
    domain = INCIDENT if dice.chance(0.6) else dice.pick(DOMAINS)
    names = dice.sample(list(domain.slots), dice.between(3, 5))
    if domain is INCIDENT and "symptom" not in names:
        names = ["system", "symptom", *[name for name in names if name != "system"][:3]]
    style, lead = _style(dice, domain, names), _lead(dice)
    # Some houses drop a part now and then, so a headline is not always predictable from its report.
    p_drop = 0.35 if dice.chance(0.25) else 0.0
    pairs = []
    for _ in range(n_turns(dice)):
        event = draw(dice, domain, names)
        pieces = [style[0], *(piece for piece in style[1:] if not dice.chance(p_drop))]
        pairs.append((tell(dice, event), lead + render(pieces, event)))
    return assemble(dice, "headline", _instruction(dice, domain), pairs)


def render(pieces: list[Piece], event: Event) -> str:
    """The headline of the event in a style."""
    return "".join(f"{piece.before}{event.facts[piece.slot].short}{piece.after}" for piece in pieces)


def _style(dice: Dice, domain: Domain, names: list[str]) -> list[Piece]:
    """A house style: which slots, in which order, and what stands around each."""
    chosen = dice.sample(names, dice.between(2, min(4, len(names))))
    if domain is INCIDENT and "symptom" in names and "symptom" not in chosen:
        chosen[-1] = "symptom"
    joint = dice.weighted(((None, 5), (": ", 2), (" - ", 2), (", ", 2), (" | ", 1), (" / ", 1), (" ", 1)))
    pieces = []
    for i, name in enumerate(chosen):
        before, after = dice.weighted(((("", ""), 12), (("(", ")"), 2), (("[", "]"), 2), (('"', '"'), 1)))
        pieces.append(Piece(name, (joint or _joint(dice, domain, name)) + before if i else before, after))
    return pieces


def _joint(dice: Dice, domain: Domain, name: str) -> str:
    """What joins a part to the one before it: the natural word for its slot, or a mark."""
    return domain.slots[name].joint if dice.chance(0.7) else dice.pick((": ", " - ", ", ", " / ", " "))


def _lead(dice: Dice) -> str:
    """A fixed beginning of all headlines of the episode; usually none."""
    word = words.any_word(dice)
    return dice.weighted(
        (("", 14), (f"{word}: ", 2), (f"[{word}] ", 1), (f"{word.upper()} ", 1), (f"{word.capitalize()} - ", 1))
    )


def _instruction(dice: Dice, domain: Domain) -> str:
    noun = dice.pick(domain.nouns)
    return dice.pick(
        (
            "Write a headline.",
            f"Give the {noun} a headline.",
            f"Sum up the {noun} in one line.",
            "One line, please.",
            f"Turn the {noun} report into a title.",
            "Write a short title for the report.",
            "Summarise in a few words.",
            f"Headline for the {noun}:",
        )
    )
