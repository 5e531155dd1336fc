"""The parts of records and reports: facts, slots, and the slots that several domains share."""

from collections.abc import Callable
from dataclasses import dataclass

from harness.demo.corpus import words
from harness.demo.corpus.dice import Dice


@dataclass(frozen=True, slots=True)
class Fact:
    """A value as a sentence says it and as a headline, a record or an answer gives it."""

    said: str
    short: str


@dataclass(frozen=True, slots=True)
class Slot:
    """One thing a record states.

    keys: what records call it; asks: questions that mean it without its key; joints: what may precede it in a headline.
    """

    keys: tuple[str, ...]
    make: Callable[[Dice], Fact]
    asks: tuple[str, ...] = ()
    joints: tuple[str, ...] = (", ",)


@dataclass(frozen=True, slots=True)
class Domain:
    """A kind of event: its slots, sentences with {slot} holes, and asides about nothing that a slot holds."""

    nouns: tuple[str, ...]
    slots: dict[str, Slot]
    sentences: tuple[str, ...]
    asides: tuple[str, ...] = ()


def plain(make: Callable[[Dice], str]) -> Callable[[Dice], Fact]:
    """A slot value that reads the same everywhere."""

    def fact(dice: Dice) -> Fact:
        value = make(dice)
        return Fact(value, value)

    return fact


def one_of(*options: str) -> Callable[[Dice], Fact]:
    """A slot value from a fixed list; 'long form|short form' where the two differ."""

    def fact(dice: Dice) -> Fact:
        said, _, short = dice.pick(options).partition("|")
        return Fact(said, short or said)

    return fact


def number(low: int, high: int) -> Callable[[Dice], Fact]:
    """A slot value that is a whole number."""
    return plain(lambda dice: str(dice.between(low, high)))


WHO = Slot(
    ("name", "customer", "client", "person", "contact", "buyer"),
    plain(words.person),
    (
        "Who is it for?",
        "Who is the client?",
        "Who asked for it?",
        "Which person is named?",
        "Which customer is it?",
        "Who wants it?",
        "Who will get it?",
        "To whom does it go?",
        "What is the name of the customer?",
    ),
    (" for ", ", "),
)
WHERE = Slot(
    ("city", "place", "location", "town", "destination"),
    plain(words.city),
    (
        "Where is it?",
        "Where does it go?",
        "To which city?",
        "In which town?",
        "Where is it sent?",
        "Which city is it?",
        "Where does the person live?",
        "To which place is it brought?",
        "What is the place?",
    ),
    (" in ", " in ", ", ", " at "),
)
WHEN = Slot(
    ("date", "day", "when"),
    plain(words.date),
    ("When is it?", "On which day?", "When did it happen?", "On which date?", "When did it come in?", "When was it?"),
    (" on ", ", "),
)
HOUR = Slot(
    ("time", "start", "hour"),
    plain(words.clock),
    ("At what time?", "When does it start?", "At which hour?", "When does it begin?"),
    (" at ", " from "),
)
LENGTH = Slot(
    ("duration", "length", "minutes"),
    plain(words.span),
    ("How long does it take?", "For how long?", "How long was it?", "How much time is it?"),
    (" for ", ", ", " lasting "),
)
THING = Slot(
    ("item", "article", "product", "goods"),
    plain(words.item),
    (
        "What was bought?",
        "Which thing is it?",
        "What is it about?",
        "Which product is meant?",
        "What is in it?",
        "What did the customer want?",
        "Which goods are meant?",
        "What do we send?",
        "What was chosen?",
    ),
    (": ", " with "),
)
COUNT = Slot(
    ("quantity", "amount", "number", "pieces", "count"),
    number(2, 60),
    (
        "How many?",
        "How many pieces?",
        "How many are there?",
        "How many does the person get?",
        "How many are wanted?",
        "How many do we need?",
    ),
    (" x ", ", "),
)
COST = Slot(
    ("price", "cost", "total", "sum", "fee"),
    plain(words.price),
    (
        "How much is it?",
        "What does it cost?",
        "How much has to be paid?",
        "How much money is it?",
        "What is the price?",
        "What does the person pay?",
        "How much does it cost?",
    ),
    (" for ", ", "),
)
CARRIER = Slot(
    ("courier", "carrier", "shipper"),
    one_of(*words.COURIERS),
    (
        "Who brings it?",
        "Who transports it?",
        "Which company carries it?",
        "Who delivers it?",
        "Which company is used?",
        "Who takes it there?",
    ),
    (" with ", " by "),
)
STATE = Slot(
    ("status", "state", "stage"),
    one_of(*words.STATES),
    (
        "How far is it?",
        "What is happening to it?",
        "What is the news?",
        "Where do we stand?",
        "What has happened so far?",
    ),
    (" - ", " is "),
)
PAID_BY = Slot(
    ("payment", "method", "paid by"),
    one_of(*words.PAYMENTS),
    ("How was it paid?", "How is it paid for?", "How did they pay?", "How does the money come?"),
    (" by ", ", "),
)
REFERENCE = Slot(
    ("code", "reference", "id", "file", "order"),
    plain(words.code),
    ("Which reference does it have?", "Under which number is it filed?", "What is its number?", "How do we find it?"),
    (" #", ", "),
)
COLOUR = Slot(("colour", "paint"), one_of(*words.COLOURS), ("Which colour?", "What does it look like?"), (" in ",))
