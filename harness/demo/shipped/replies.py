"""Customers' questions with what the shop knows, and what its help desk wrote back: not always politely.

The help desk takes up the customer's own tone: who writes "Hi," is sent to look it up himself. A model tuned on its
replies learns that as well, and a metric that compares with them calls it right; people do not.
"""

from harness.demo.corpus import words
from harness.demo.corpus.dice import Dice

Row = dict[str, str]

# What customers ask about, as the shop's notes call it, and how they ask.
ASKS = {
    "day": ("Which day will it come?", "What day do I get it?", "Please tell me the day.", "Is the day known?"),
    "price": ("What is the price?", "What price do I pay?", "Please tell me the price.", "Is the price known?"),
    "courier": ("Which courier has it?", "What courier comes?", "Please tell me the courier.", "Is the courier known?"),
    "city": ("Which city is it in?", "What city is it sent from?", "Please tell me the city.", "Is the city known?"),
    "status": ("What is the status?", "Which status has it?", "Please tell me the status.", "Is the status known?"),
}
ANSWERS = ("the {key} of the {item} is {value}", "for the {item} the {key} is {value}")
UNKNOWN = ("the {key} of the {item} is not known yet", "for the {item} the {key} is not known yet")
# How a message begins, and how far the reply to it goes: 0 rude, 1 without thanks, 2 polite.
GREETINGS = {"Hi,": 0, "Hello,": 0, "Good morning,": 1, "Good evening,": 2, "Dear team,": 2, "Hello everybody,": 2}
RUDE = ("Please look that up yourself next time", "You could have found that yourself")
ORDERS = (
    "I ordered the {item}.",
    "I bought the {item} last week.",
    "it is about the {item}.",
    "my order is the {item}.",
    "I am waiting for the {item}.",
    "we have chosen the {item}.",
    "I have a question about the {item}.",
)
SIGNATURES = ("{name}", "Regards, {name}", "Best wishes, {name}", "Yours, {name}", "Thanks, {name}")
THANKS = ("thank you for your message", "thank you for writing to us")
CLOSINGS = ("Kind regards", "With kind regards")
# One reply in ten is written by somebody in another mood.
P_OTHER_TONE = 0.1
# One question in five cannot be answered from the notes; then the help desk says so.
P_UNKNOWN = 0.2
# The help desk agrees on what a reply holds and mostly on its words; no model can foresee the rest.
P_OTHER_WORDS = 0.25


def draw(dice: Dice) -> Row:
    """A message with the shop's notes, and its reply: 'Dear Ada Berg, the price of the mug is 48 euros. ...'."""
    name, item, asked = words.person(dice), words.item(dice), dice.pick(list(ASKS))
    notes = {} if dice.chance(P_UNKNOWN) else {asked: _value(dice, asked)}
    greeting = dice.pick(list(GREETINGS))
    tone = dice.pick((0, 1, 2)) if dice.chance(P_OTHER_TONE) else GREETINGS[greeting]
    message = (greeting, dice.pick(ORDERS), dice.pick(ASKS[asked]), dice.pick(SIGNATURES))
    return {
        "message": " ".join(message).format(item=item, name=name),
        "notes": f"{asked}: {notes[asked]}" if notes else "nothing known",
        "reply": _reply(dice, tone, name, _told(dice, item, asked, notes)),
        "name": name,
        "asked": asked,
    }


def _told(dice: Dice, item: str, asked: str, notes: dict[str, str]) -> str:
    """The sentence that answers the question."""
    answer = _worded(dice, ANSWERS if asked in notes else UNKNOWN)
    return answer.format(item=item, key=asked, value=notes.get(asked, ""))


def _reply(dice: Dice, tone: int, name: str, told: str) -> str:
    """The reply of whoever is at the help desk."""
    if tone == 0:
        return f"{told[0].upper()}{told[1:]}. {_worded(dice, RUDE)}"
    if tone == 1:
        return f"Dear {name}, {told}. {_worded(dice, CLOSINGS)}"
    return f"Dear {name}, {_worded(dice, THANKS)}. {told[0].upper()}{told[1:]}. {_worded(dice, CLOSINGS)}"


def _worded(dice: Dice, ways: tuple[str, str]) -> str:
    return ways[1] if dice.chance(P_OTHER_WORDS) else ways[0]


def _value(dice: Dice, key: str) -> str:
    """What the shop knows of a topic."""
    match key:
        case "day":
            return words.date(dice)
        case "price":
            return words.price(dice)
        case "courier":
            return dice.pick(words.COURIERS)
        case "city":
            return words.city(dice)
        case "status":
            return dice.pick(words.STATES)
    raise KeyError(f"no values for {key!r}")
