"""Drills of copying and looking up, where in-context learning begins, and a little prose."""

from harness.demo.corpus import words
from harness.demo.corpus.dice import Dice
from harness.demo.corpus.domains import DOMAINS, draw, tell
from harness.demo.corpus.episode import Episode, assemble, n_turns
from harness.demo.corpus.fill import fill
from harness.demo.corpus.topics import FILLERS, OPENINGS


def copy(dice: Dice) -> Episode:
    """Texts that are repeated whole, or between marks that the episode keeps."""
    before, after = dice.weighted(
        (
            (("", ""), 6),
            (('"', '"'), 1),
            (("(", ")"), 1),
            (("<", ">"), 1),
            ((f"{words.any_word(dice)} ", ""), 2),
            (("", f" {words.any_word(dice)}"), 2),
            ((f"{words.any_word(dice)}: ", ""), 2),
        )
    )
    pairs = [(text, f"{before}{text}{after}") for text in (_snippet(dice) for _ in range(n_turns(dice)))]
    like = f" like this: {before}text{after}" if before or after else ""
    return assemble(dice, "copy", f"{dice.pick(('Repeat', 'Copy', 'Echo', 'Say'))} the text{like}.", pairs, told=True)


def lookup(dice: Dice) -> Episode:
    """A list of pairs in the input, and one key to look up in it."""
    arrow, joint = dice.pick((" -> ", ": ", " = ", " is ", " > ", "=")), dice.pick(("\n", ", ", "; "))
    pairs = []
    for _ in range(n_turns(dice)):
        table = {words.any_word(dice): _value(dice) for _ in range(dice.between(2, 6))}
        key = dice.pick(list(table))
        pairs.append((joint.join(f"{k}{arrow}{v}" for k, v in table.items()) + f"\n{key}", table[key]))
    return assemble(
        dice, "map", dice.pick(("Look up the last word.", "Find the value.", "What belongs to it?")), pairs, told=True
    )


def association(dice: Dice) -> Episode:
    """Words that come back in later turns, each with the answer it had before."""
    table = [(words.any_word(dice), _value(dice)) for _ in range(dice.between(2, 4))]
    pairs = [*table, *(dice.pick(table) for _ in range(dice.between(3, 8)))]
    return assemble(
        dice, "map", dice.pick(("Same word, same answer.", "Remember the answers.", "Answer as before.")), pairs
    )


def prose(dice: Dice) -> Episode:
    """A short text about nothing in particular."""
    domain = dice.pick(DOMAINS)
    event = tell(dice, draw(dice, domain, list(domain.slots)))
    talk = fill(dice, f"{dice.pick(OPENINGS)}. {'. '.join(dice.sample(FILLERS, 2))}.")
    return assemble(dice, "prose", "Write something.", [(f"About a {dice.pick(domain.nouns)}.", f"{talk} {event}")])


def _snippet(dice: Dice) -> str:
    """Something to copy: words, a sentence, a reference or a name."""
    return dice.weighted(
        (
            (words.phrase(dice), 4),
            (fill(dice, dice.pick(FILLERS)), 2),
            (words.item(dice), 1),
            (words.person(dice), 1),
            (words.code(dice), 1),
            (words.date(dice), 1),
            (words.system(dice), 1),
            (words.price(dice), 1),
        )
    )


def _value(dice: Dice) -> str:
    return str(dice.between(1, 99)) if dice.chance(0.25) else words.any_word(dice)
