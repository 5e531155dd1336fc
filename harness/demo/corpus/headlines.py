"""Headline episodes: reports with a one-line headline in a house style that the examples show."""

from dataclasses import dataclass

from harness.demo.corpus import words
from harness.demo.corpus.dice import Dice
from harness.demo.corpus.domains import DOMAINS, Event, draw, tell
from harness.demo.corpus.episode import Episode, assemble, n_turns
from harness.demo.corpus.incidents import INCIDENT
from harness.demo.corpus.slots import Domain


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of a headline: a slot's value between two strings."""

    slot: str
    before: str
    after: str = ""


@dataclass(frozen=True, slots=True)
class Style:
    """A house style: a fixed beginning, parts in a row, and parts together in brackets at the end."""

    lead: str
    pieces: tuple[Piece, ...]
    bracketed: tuple[str, ...]

    def write(self, event: Event, dropped: set[str]) -> str:
        """The event's headline without the dropped slots."""
        row = (f"{p.before}{event.facts[p.slot].short}{p.after}" for p in self.pieces if p.slot not in dropped)
        inside = ", ".join(event.facts[slot].short for slot in self.bracketed if slot not in dropped)
        return self.lead + "".join(row) + (f" ({inside})" if inside else "")


def headline(dice: Dice) -> Episode:
    """Reports with their one-line headlines, all in the house style of the episode."""
    domain = INCIDENT if dice.chance(0.65) else dice.pick(DOMAINS)
    names = _names(dice, domain)
    style = _style(dice, domain, names)
    # Some houses drop a part now and then, so a headline is not always predictable from its report.
    p_drop = 0.35 if dice.chance(0.25) else 0.0
    pairs = []
    for _ in range(n_turns(dice)):
        event = draw(dice, domain, names)
        dropped = {slot for slot in names if slot != style.pieces[0].slot and dice.chance(p_drop)}
        report = tell(dice, event, n_asides=dice.weighted(((0, 4), (1, 4), (2, 1))))
        pairs.append((report, style.write(event, dropped)))
    return assemble(dice, "headline", _instruction(dice, domain), pairs)


def _names(dice: Dice, domain: Domain) -> list[str]:
    """The slots that the episode's reports state; an incident has a system and a symptom, which is its news."""
    names = dice.sample(list(domain.slots), dice.between(3, 5))
    if domain is not INCIDENT:
        return names
    others = [name for name in names if name not in ("system", "symptom")]
    return ["system", "symptom", *others[: dice.between(1, 3)]]


def _style(dice: Dice, domain: Domain, names: list[str]) -> Style:
    """A house style for reports that state these slots."""
    chosen = dice.sample(names, dice.between(2, min(5, len(names))))
    if domain is INCIDENT and "symptom" not in chosen:
        chosen[-1] = "symptom"
    n_bracketed = dice.weighted(((0, 6), (1, 2), (2, 2))) if len(chosen) > 2 else 0
    row = chosen[: max(1, len(chosen) - n_bracketed)]
    one_joint = dice.weighted(((None, 8), (": ", 2), (" - ", 2), (", ", 2), (" | ", 1), (" / ", 1), (" ", 1)))
    pieces = [_piece(dice, row[0], "")]
    pieces += [_piece(dice, name, one_joint or _joint(dice, domain, name)) for name in row[1:]]
    return Style(_lead(dice), tuple(pieces), tuple(chosen[len(row) :]))


def _piece(dice: Dice, name: str, joint: str) -> Piece:
    """A part that follows the joint, now and then between marks."""
    before, after = dice.weighted(((("", ""), 16), (("(", ")"), 1), (("[", "]"), 2), (('"', '"'), 1)))
    return Piece(name, joint + before, after)


def _joint(dice: Dice, domain: Domain, name: str) -> str:
    """What joins a part to the one before it: a natural word for its slot, or a mark."""
    return dice.pick(domain.slots[name].joints) if dice.chance(0.75) else dice.pick((": ", " - ", ", ", " / ", " "))


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
