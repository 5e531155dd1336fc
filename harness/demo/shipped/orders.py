"""Order records with a question and its short answer."""

from collections.abc import Callable

from harness.demo.corpus import words
from harness.demo.corpus.dice import Dice

Row = dict[str, str]

FIELDS: dict[str, tuple[Callable[[Dice], str], tuple[str, ...]]] = {
    "order": (
        words.code,
        (
            "Which order is this?",
            "Under which number do we find the order?",
            "What is the number of the order?",
            "How is the order filed?",
        ),
    ),
    "customer": (
        words.person,
        (
            "Who placed the order?",
            "Who ordered it?",
            "For which customer is the order?",
            "Who gets the goods?",
            "To whom do we write?",
        ),
    ),
    "item": (
        words.item,
        (
            "What was ordered?",
            "Which product did the customer choose?",
            "Which goods are in the box?",
            "What do we have to pack?",
            "What did they buy from us?",
        ),
    ),
    "quantity": (
        lambda dice: str(dice.between(2, 48)),
        (
            "How many were ordered?",
            "How many pieces go into the box?",
            "How many does the customer want?",
            "How many pieces do we pack?",
        ),
    ),
    "total": (
        words.price,
        (
            "How much does the customer pay?",
            "What does the whole order cost?",
            "How much money do we get?",
            "What is the price of it all?",
        ),
    ),
    "payment": (
        lambda dice: dice.pick(words.PAYMENTS),
        ("How did the customer pay?", "How does the money reach us?", "By what means was the order paid?"),
    ),
    "courier": (
        lambda dice: dice.pick(words.COURIERS),
        (
            "Who delivers the order?",
            "Who takes the box to the customer?",
            "Which company brings the goods?",
            "Who carries the box?",
        ),
    ),
    "city": (
        words.city,
        (
            "Where do the goods go?",
            "To which town is it sent?",
            "Where does the customer live?",
            "Where is the box delivered?",
        ),
    ),
    "date": (
        words.date,
        ("When was it ordered?", "On which day did the order come in?", "When did the customer order?"),
    ),
    "status": (
        lambda dice: dice.pick(words.STATES),
        (
            "How far is the order?",
            "What is happening with the order now?",
            "What do we tell a customer who asks for news?",
        ),
    ),
}


def draw(dice: Dice) -> Row:
    """A record of six fields and a question about one of them."""
    names = dice.sample(list(FIELDS), 6)
    values = {name: FIELDS[name][0](dice) for name in names}
    asked = dice.pick(names)
    return {
        "record": "\n".join(f"{name}: {value}" for name, value in values.items()),
        "question": dice.pick(FIELDS[asked][1]),
        "answer": values[asked],
        "field": asked,
    }
