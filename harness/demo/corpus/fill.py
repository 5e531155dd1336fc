"""Sentences with {holes} filled by fresh random values."""

from harness.demo.corpus import words
from harness.demo.corpus.dice import Dice


def fill(dice: Dice, template: str) -> str:
    """The template with each {hole} replaced by a fresh random value."""
    while "{" in template:
        hole = template[template.index("{") + 1 : template.index("}")]
        template = template.replace("{" + hole + "}", _value(dice, hole), 1)
    return template


def _value(dice: Dice, hole: str) -> str:
    """A random value for the hole called so."""
    match hole:
        case "item":
            return words.item(dice)
        case "price":
            return words.price(dice)
        case "city":
            return words.city(dice)
        case "courier":
            return dice.pick(words.COURIERS)
        case "colour":
            return dice.pick(words.COLOURS)
        case "day":
            return dice.pick(words.DAYS)
        case "date":
            return words.date(dice)
        case "month":
            return dice.pick(words.MONTHS)
        case "name":
            return words.person(dice)
        case "team":
            return words.team(dice)
        case "role":
            return dice.pick(words.ROLES)
        case "system":
            return words.system(dice)
        case "count":
            return str(dice.between(2, 900))
        case "code":
            return words.code(dice)
    raise KeyError(f"no values for the hole {hole!r}")
