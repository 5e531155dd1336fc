"""The kinds of events that records and reports are about, and an event told as prose."""

from dataclasses import dataclass

from harness.demo.corpus import words
from harness.demo.corpus.dice import Dice
from harness.demo.corpus.fill import fill
from harness.demo.corpus.incidents import INCIDENT
from harness.demo.corpus.slots import (
    CARRIER,
    COLOUR,
    COST,
    COUNT,
    HOUR,
    LENGTH,
    PAID_BY,
    REFERENCE,
    STATE,
    THING,
    WHEN,
    WHERE,
    WHO,
    Domain,
    Fact,
    Slot,
    number,
    one_of,
    plain,
)

MATCH = Domain(
    ("match", "game"),
    {
        "home": Slot(("home", "winner", "team"), plain(words.team), ("Who won?",), (" ",)),
        "guest": Slot(("guest", "loser", "opponent"), plain(words.team), ("Who lost?",), (" beat ",)),
        "score": Slot(
            ("score", "result"), plain(lambda d: f"{d.between(2, 6)}-{d.between(0, 1)}"), ("How did it end?",), (" ",)
        ),
        "place": WHERE,
        "scorer": Slot(("scorer", "player"), plain(words.person), ("Who scored?",), (" thanks to ",)),
        "when": WHEN,
    },
    (
        "{home} beat {guest}.",
        "{home} won.",
        "{guest} lost.",
        "{home} was too strong for {guest}.",
        "The score was {score}.",
        "It ended {score}.",
        "They met in {place}.",
        "The stadium in {place} was full.",
        "{scorer} scored the first goal.",
        "The best player was {scorer}.",
        "The match was played on {when}.",
    ),
)
PARCEL = Domain(
    ("parcel", "shipment", "consignment"),
    {
        "thing": THING,
        "who": WHO,
        "place": WHERE,
        "carrier": CARRIER,
        "state": STATE,
        "when": WHEN,
        "code": REFERENCE,
        "paid": PAID_BY,
    },
    (
        "{carrier} took the {thing} to {place}.",
        "The parcel holds the {thing}.",
        "The {thing} is meant for {who}.",
        "It goes to {place}.",
        "{who} is waiting for the {thing}.",
        "The status is {state}.",
        "At the moment it is {state}.",
        "It is for {who}.",
        "It left on {when}.",
        "The reference is {code}.",
        "It was paid by {paid}.",
        "{carrier} carries it.",
    ),
)
MEETING = Domain(
    ("meeting", "talk", "workshop", "appointment"),
    {
        "who": Slot(
            ("speaker", "host", "guest", "name"), plain(words.person), ("Who speaks?", "Who is the host?"), (" with ",)
        ),
        "topic": Slot(
            ("topic", "subject", "title"),
            plain(lambda d: f"{d.pick(words.PLAIN)} {d.pick(words.PLAIN)}"),
            ("What is it about?",),
            (": ",),
        ),
        "place": WHERE,
        "when": WHEN,
        "time": HOUR,
        "length": LENGTH,
        "room": Slot(("room", "hall"), number(1, 400), ("Which room?",), (", room ",)),
    },
    (
        "{who} talks about {topic}.",
        "Our guest is {who}.",
        "The topic is {topic}.",
        "The meeting is in {place}.",
        "It takes place on {when}.",
        "It starts at {time}.",
        "It will last {length}.",
        "Come to room {room}.",
        "{who} is the host.",
    ),
)
BOOKING = Domain(
    ("booking", "reservation", "stay", "trip"),
    {
        "who": WHO,
        "place": WHERE,
        "when": WHEN,
        "cost": COST,
        "state": STATE,
        "paid": PAID_BY,
        "nights": Slot(
            ("nights", "days"), number(1, 21), ("How many nights?", "How long is the stay?"), (", nights: ",)
        ),
        "guests": Slot(
            ("guests", "people", "adults"), number(1, 8), ("How many guests come?", "For how many people?"), (" x ",)
        ),
    },
    (
        "{who} booked a room in {place}.",
        "{who} made the booking.",
        "The hotel is in {place}.",
        "The stay begins on {when}.",
        "It costs {cost}.",
        "The price is {cost}.",
        "The booking is {state}.",
        "It was paid by {paid}.",
        "They stay {nights} nights.",
        "There will be {guests} guests.",
    ),
)
STOCK = Domain(
    ("stock entry", "listing", "offer"),
    {
        "thing": THING,
        "count": COUNT,
        "cost": COST,
        "place": WHERE,
        "colour": COLOUR,
        "code": REFERENCE,
        "when": WHEN,
        "carrier": CARRIER,
    },
    (
        "We have {count} pieces of the {thing}.",
        "This is about the {thing}.",
        "The {thing} costs {cost}.",
        "It lies in {place}.",
        "The colour is {colour}.",
        "It has the code {code}.",
        "New goods come on {when}.",
        "There are {count} left.",
        "The price is {cost}.",
        "{carrier} brings it.",
    ),
)
HIRE = Domain(
    ("staff file", "application", "contract"),
    {
        "who": Slot(("name", "person", "candidate"), plain(words.person), ("Who is hired?", "Who applied?"), (" ",)),
        "role": Slot(
            ("role", "job", "position"),
            one_of(*words.ROLES),
            ("What is the job?", "What does the person do?"),
            (" as ",),
        ),
        "firm": Slot(("company", "firm", "employer"), plain(words.team), ("Where does the person work?",), (" at ",)),
        "place": WHERE,
        "when": WHEN,
        "pay": Slot(
            ("pay", "salary"),
            plain(lambda d: f"{d.between(18, 95)}00 euros"),
            ("How much does the job pay?",),
            (" for ",),
        ),
    },
    (
        "{who} starts as a {role}.",
        "The job is that of a {role}.",
        "{who} signed.",
        "The employer is {firm}.",
        "{firm} hired {who}.",
        "The office is in {place}.",
        "The first day is {when}.",
        "The pay is {pay}.",
        "{firm} needed a {role}.",
    ),
)
WEATHER = Domain(
    ("weather note", "forecast"),
    {
        "place": WHERE,
        "day": Slot(("day", "weekday"), one_of(*words.DAYS), ("Which day?",), (" on ",)),
        "sky": Slot(
            ("sky", "weather"),
            one_of("heavy rain", "thick fog", "bright sun", "light snow", "strong wind", "thunder"),
            ("What will the weather be?",),
            (": ",),
        ),
        "heat": Slot(("temperature", "degrees"), number(1, 35), ("How warm is it?",), (", ",)),
        "time": HOUR,
    },
    (
        "Expect {sky} in {place}.",
        "Expect {sky}.",
        "The day is {day}.",
        "In {place} people should be ready.",
        "{day} brings {sky}.",
        "It will be {heat} degrees.",
        "It begins at {time}.",
        "{place} should be ready on {day}.",
    ),
)
REPAIR = Domain(
    ("repair", "service job", "complaint"),
    {
        "thing": THING,
        "who": WHO,
        "state": STATE,
        "cost": COST,
        "when": WHEN,
        "place": WHERE,
        "fault": Slot(
            ("fault", "defect", "damage"),
            one_of("broken glass", "bent leg", "loose cable", "worn belt", "dead battery"),
            ("What is wrong with it?",),
            (" with ",),
        ),
        "staff": Slot(
            ("mechanic", "agent", "handled by"),
            plain(words.person),
            ("Who takes care of it?", "Who repairs it?"),
            (" by ",),
        ),
    },
    (
        "{who} brought in the {thing}.",
        "The thing is the {thing}.",
        "The owner is {who}.",
        "The fault is a {fault}.",
        "The {thing} has a {fault}.",
        "The shop in {place} does the work.",
        "The job is {state}.",
        "It will cost {cost}.",
        "It should be ready on {when}.",
        "{staff} takes care of it.",
    ),
)

DOMAINS = (INCIDENT, MATCH, PARCEL, MEETING, BOOKING, STOCK, HIRE, WEATHER, REPAIR)


@dataclass(frozen=True, slots=True)
class Event:
    """One drawn event: the facts of some slots of a domain."""

    domain: Domain
    facts: dict[str, Fact]


def draw(dice: Dice, domain: Domain, names: list[str]) -> Event:
    """An event of the domain with a value for each named slot."""
    return Event(domain, {name: domain.slots[name].make(dice) for name in names})


def tell(dice: Dice, event: Event, n_asides: int = 0) -> str:
    """The event as prose: sentences in random order that state each of its facts at least once, and some asides."""
    chosen: list[str] = []
    left = set(event.facts)
    for sentence in dice.shuffled(event.domain.sentences):
        holes = {part.split("}")[0] for part in sentence.split("{")[1:]}
        if holes & left and holes <= set(event.facts):
            chosen.append(sentence)
            left -= holes
        if not left:
            break
    said = {name: fact.said for name, fact in event.facts.items()}
    sentences = [sentence.format_map(said) for sentence in chosen]
    sentences += [fill(dice, aside) for aside in dice.sample(event.domain.asides, n_asides)]
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in dice.shuffled(sentences))
