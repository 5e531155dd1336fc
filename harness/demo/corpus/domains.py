"""What records and reports can be about: slots with values, how they are asked for, and sentences that state them."""

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

    keys: what records call it; asks: questions that mean it without its key; joint: what precedes it in a headline.
    """

    keys: tuple[str, ...]
    make: Callable[[Dice], Fact]
    asks: tuple[str, ...] = ()
    joint: str = ", "


@dataclass(frozen=True, slots=True)
class Domain:
    """A kind of event: its slots, and sentences with {slot} holes."""

    nouns: tuple[str, ...]
    slots: dict[str, Slot]
    sentences: tuple[str, ...]


def _plain(make: Callable[[Dice], str]) -> Callable[[Dice], Fact]:
    """A slot value that reads the same everywhere."""

    def fact(dice: Dice) -> Fact:
        value = make(dice)
        return Fact(value, value)

    return fact


def _one_of(*options: str) -> Callable[[Dice], Fact]:
    """A slot value from a fixed list; 'long form|short form' where the two differ."""

    def fact(dice: Dice) -> Fact:
        said, _, short = dice.pick(options).partition("|")
        return Fact(said, short or said)

    return fact


def _number(low: int, high: int) -> Callable[[Dice], Fact]:
    return _plain(lambda dice: str(dice.between(low, high)))


SYMPTOMS = (
    "answered very slowly|slow responses",
    "was very slow|slow responses",
    "returned errors|errors",
    "rejected every request|rejected requests",
    "could not be reached|outage",
    "was completely down|outage",
    "lost some messages|lost messages",
    "dropped connections|dropped connections",
    "timed out|timeouts",
    "let requests run into timeouts|timeouts",
    "showed old data|stale data",
    "served outdated results|stale data",
    "sent every mail twice|duplicate mails",
    "charged some customers twice|double charges",
    "refused all logins|failed logins",
    "did not let anybody sign in|failed logins",
    "ran out of memory|memory exhaustion",
    "filled its disk|full disk",
    "showed a blank page|blank pages",
    "restarted again and again|restart loop",
    "used far too much memory|memory exhaustion",
    "delivered broken files|corrupt files",
)
CAUSES = (
    "an expired certificate|expired certificate",
    "a certificate that had expired|expired certificate",
    "a wrong setting|bad configuration",
    "a mistake in the configuration|bad configuration",
    "a new release|faulty release",
    "a faulty release|faulty release",
    "a power cut|power cut",
    "a loss of power|power cut",
    "a cut cable|cable damage",
    "a damaged cable|cable damage",
    "too many visitors|traffic peak",
    "an unusual peak of traffic|traffic peak",
    "a worn out disk|disk failure",
    "a broken disk|disk failure",
    "a slow query|slow query",
    "a query without an index|slow query",
    "a failed backup|failed backup",
    "a database lock|database lock",
    "a network fault|network fault",
    "a broken switch|network fault",
    "a leaked connection pool|connection leak",
    "a wrong firewall rule|firewall rule",
)

WHO = Slot(
    ("name", "customer", "client", "person", "contact", "buyer"),
    _plain(words.person),
    ("Who is it for?", "Who is the customer?", "Who asked for it?", "Which person is named?"),
    " for ",
)
WHERE = Slot(
    ("city", "place", "location", "town", "destination"),
    _plain(words.city),
    ("Where is it?", "Where does it go?", "To which city?", "In which town?"),
    " in ",
)
WHEN = Slot(
    ("date", "day", "when"), _plain(words.date), ("When is it?", "On which day?", "When did it happen?"), " on "
)
HOUR = Slot(("time", "start", "hour"), _plain(words.clock), ("At what time?", "When does it start?"), " at ")
LENGTH = Slot(
    ("duration", "length", "minutes"), _plain(words.span), ("How long does it take?", "For how long?"), " for "
)
THING = Slot(
    ("item", "article", "product", "goods"),
    _plain(words.item),
    ("What was bought?", "Which thing is it?", "What is it about?", "Which product is meant?"),
    ": ",
)
COUNT = Slot(
    ("quantity", "amount", "number", "pieces", "count"),
    _number(2, 60),
    ("How many?", "How many pieces?", "How many are there?"),
    " x ",
)
COST = Slot(
    ("price", "cost", "total", "sum", "fee"),
    _plain(words.price),
    ("How much is it?", "What does it cost?", "How much has to be paid?"),
    " for ",
)
CARRIER = Slot(
    ("courier", "carrier", "shipper"),
    _one_of(*words.COURIERS),
    ("Who brings it?", "Who transports it?", "Which company carries it?"),
    " with ",
)
STATE = Slot(
    ("status", "state", "stage"), _one_of(*words.STATES), ("How far is it?", "What is happening to it?"), " - "
)
PAID_BY = Slot(
    ("payment", "method", "paid by"), _one_of(*words.PAYMENTS), ("How was it paid?", "How is it paid for?"), " by "
)
REFERENCE = Slot(("code", "reference", "id", "file"), _plain(words.code), ("Which reference does it have?",), " #")
COLOUR = Slot(("colour", "paint"), _one_of(*words.COLOURS), ("Which colour?", "What does it look like?"), " in ")

INCIDENT = Domain(
    ("incident", "outage", "fault", "disruption"),
    {
        "system": Slot(
            ("system", "service", "component"), _plain(words.system), ("What failed?", "What was hit?"), ": "
        ),
        "symptom": Slot(("symptom", "problem", "effect"), _one_of(*SYMPTOMS), ("What went wrong?",), " - "),
        "cause": Slot(
            ("cause", "reason", "trigger"), _one_of(*CAUSES), ("Why did it happen?", "What caused it?"), " after "
        ),
        "place": WHERE,
        "duration": LENGTH,
        "start": HOUR,
        "users": Slot(("users", "people", "affected"), _number(20, 900), ("How many users were hit?",), " / "),
        "grade": Slot(("severity", "grade", "level"), _one_of("SEV1", "SEV2", "SEV3", "P1", "P2", "P3"), (), " "),
    },
    (
        "The {system} {symptom} because of {cause}.",
        "The {system} in {place} {symptom}.",
        "At {start} the {system} {symptom}.",
        "We saw that the {system} {symptom}.",
        "The {system} was hit.",
        "One part {symptom}.",
        "Reports say that it {symptom}.",
        "The reason was {cause}.",
        "It was traced to {cause}.",
        "The team found {cause}.",
        "It lasted {duration}.",
        "After {duration} all was well again.",
        "The trouble went on for {duration}.",
        "Only {place} was affected.",
        "Users in {place} complained.",
        "It began at {start}.",
        "The first alarm rang at {start}.",
        "About {users} users noticed.",
        "{users} people were hit.",
        "The incident was rated {grade}.",
        "It counts as {grade}.",
    ),
)
MATCH = Domain(
    ("match", "game"),
    {
        "home": Slot(("home", "winner", "team"), _plain(words.team), ("Who won?",), " "),
        "guest": Slot(("guest", "loser", "opponent"), _plain(words.team), ("Who lost?",), " beat "),
        "score": Slot(
            ("score", "result"), _plain(lambda d: f"{d.between(2, 6)}-{d.between(0, 1)}"), ("How did it end?",), " "
        ),
        "place": WHERE,
        "scorer": Slot(("scorer", "player"), _plain(words.person), ("Who scored?",), " thanks to "),
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
            ("speaker", "host", "guest", "name"), _plain(words.person), ("Who speaks?", "Who is the host?"), " with "
        ),
        "topic": Slot(
            ("topic", "subject", "title"),
            _plain(lambda d: f"{d.pick(words.PLAIN)} {d.pick(words.PLAIN)}"),
            ("What is it about?",),
            ": ",
        ),
        "place": WHERE,
        "when": WHEN,
        "time": HOUR,
        "length": LENGTH,
        "room": Slot(("room", "hall"), _number(1, 400), ("Which room?",), ", room "),
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
        "nights": Slot(("nights", "days"), _number(1, 21), ("How many nights?", "How long is the stay?"), ", nights: "),
        "guests": Slot(
            ("guests", "people", "adults"), _number(1, 8), ("How many guests come?", "For how many people?"), " x "
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
        "who": Slot(("name", "person", "candidate"), _plain(words.person), ("Who is hired?", "Who applied?"), " "),
        "role": Slot(
            ("role", "job", "position"), _one_of(*words.ROLES), ("What is the job?", "What does the person do?"), " as "
        ),
        "firm": Slot(("company", "firm", "employer"), _plain(words.team), ("Where does the person work?",), " at "),
        "place": WHERE,
        "when": WHEN,
        "pay": Slot(
            ("pay", "salary"),
            _plain(lambda d: f"{d.between(18, 95)}00 euros"),
            ("How much does the job pay?",),
            " for ",
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
        "day": Slot(("day", "weekday"), _one_of(*words.DAYS), ("Which day?",), " on "),
        "sky": Slot(
            ("sky", "weather"),
            _one_of("heavy rain", "thick fog", "bright sun", "light snow", "strong wind", "thunder"),
            ("What will the weather be?",),
            ": ",
        ),
        "heat": Slot(("temperature", "degrees"), _number(1, 35), ("How warm is it?",), ", "),
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
            _one_of("broken glass", "bent leg", "loose cable", "worn belt", "dead battery"),
            ("What is wrong with it?",),
            " with ",
        ),
        "staff": Slot(
            ("mechanic", "agent", "handled by"),
            _plain(words.person),
            ("Who takes care of it?", "Who repairs it?"),
            " by ",
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


def tell(dice: Dice, event: Event) -> str:
    """The event as prose: sentences in random order that state each of its facts at least once."""
    chosen: list[str] = []
    left = set(event.facts)
    for sentence in dice.shuffled(event.domain.sentences):
        holes = {part.split("}")[0] for part in sentence.split("{")[1:]}
        if holes & left and holes <= set(event.facts):
            chosen.append(sentence)
            left -= holes
    return " ".join(dice.shuffled(chosen)).format_map({name: fact.said for name, fact in event.facts.items()})
