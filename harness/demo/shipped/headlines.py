"""Incident reports with headlines in one house style, as several editors would write them."""

from harness.demo.corpus import words
from harness.demo.corpus.dice import Dice

Row = dict[str, str]

# What the report says, and how a headline may name it: the first name is the usual one.
SYMPTOMS: tuple[tuple[tuple[str, ...], tuple[str, str]], ...] = (
    (("answered far too slowly", "needed minutes for each request"), ("slow responses", "long waits")),
    (("returned nothing but errors", "failed on every second request"), ("errors", "failed requests")),
    (("was down", "did not answer at all"), ("outage", "downtime")),
    (("ran into timeouts", "kept timing out"), ("timeouts", "hanging requests")),
    (("lost messages", "dropped part of its messages"), ("lost messages", "missing messages")),
    (("showed data from the day before", "served old data"), ("stale data", "old data")),
    (("sent mails twice", "sent the same mail again and again"), ("duplicate mails", "repeated mails")),
    (("refused logins", "let nobody sign in"), ("failed logins", "login failures")),
    (("had no free disk left", "filled the disk"), ("full disk", "no free disk")),
    (("restarted every few minutes", "went into a restart loop"), ("restart loop", "constant restarts")),
    (("showed blank pages", "came up blank"), ("blank pages", "empty pages")),
    (("charged customers twice", "booked payments twice"), ("double charges", "duplicate payments")),
)
CAUSES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("an expired certificate", "a certificate nobody had renewed"), "expired certificate"),
    (("a bad configuration", "a typing mistake in the configuration"), "bad configuration"),
    (("a faulty release", "the release of that morning"), "faulty release"),
    (("a power cut", "a short loss of power"), "power cut"),
    (("a damaged cable", "a cable cut by road works"), "cable damage"),
    (("a peak in traffic", "far more visitors than usual"), "traffic peak"),
    (("a disk failure", "a disk that had worn out"), "disk failure"),
    (("a slow query", "one very slow query"), "slow query"),
    (("a database lock", "a lock in the database"), "database lock"),
    (("a network fault", "a fault in the network"), "network fault"),
)
STARTS = (
    "From {start} on, the {system} {symptom}.",
    "Starting at {start}, the {system} {symptom}.",
    "On {day} at {start} the {system} {symptom}.",
    "On {day} our {system} {symptom}.",
    "{day}, {start}: the {system} {symptom}.",
    "Monitoring showed at {start} that the {system} {symptom}.",
)
PLACES = (
    "All customers in {place} noticed.",
    "It hit our customers in {place}.",
    "The office in {place} reported it first.",
    "Calls came from {place} only.",
    "Nobody outside {place} was affected.",
)
REASONS = (
    "Engineers blamed {cause}.",
    "Behind it was {cause}.",
    "The trigger turned out to be {cause}.",
    "The log pointed to {cause}.",
    "{cause} had caused it.",
)
ENDS = (
    "Service was back after {duration}.",
    "It took {duration} to repair.",
    "All systems were normal again {duration} later.",
    "The fix needed {duration}.",
)
EXTRAS = (
    "{n} customers wrote to us.",
    "{name} led the repair.",
    "A review follows on {day}.",
    "No data was lost.",
    "The shop in {other} was not affected.",
    "We will check the {spare} next.",
)
# Editors agree on the order of a headline and mostly on its words; no model can foresee the rest.
P_SECOND_NAME = 0.2
P_OTHER_LENGTH = 0.12
LONG_MINUTES = 30


def draw(dice: Dice) -> Row:
    """A report and its headline: 'Oslo: timeouts on search api (slow query, 40 minutes)'.

    The duration is part of the headline when it was half an hour or more.
    """
    (said, named), (reasons, cause) = dice.pick(SYMPTOMS), dice.pick(CAUSES)
    system, place, duration = words.system(dice), words.city(dice), words.span(dice)
    reason = dice.pick(REASONS).format(cause=dice.pick(reasons))
    extra = dice.pick(EXTRAS).format(
        n=dice.between(12, 900),
        name=words.person(dice),
        day=dice.pick(words.DAYS),
        other=words.city(dice),
        spare=words.system(dice),
    )
    opening = dice.pick(STARTS).format(
        start=words.clock(dice), system=system, symptom=dice.pick(said), day=dice.pick(words.DAYS)
    )
    others = [
        dice.pick(PLACES).format(place=place),
        reason[0].upper() + reason[1:],
        dice.pick(ENDS).format(duration=duration),
    ]
    report = " ".join([opening, *dice.shuffled([*others, extra] if dice.chance(0.6) else others)])
    name = named[1] if dice.chance(P_SECOND_NAME) else named[0]
    tail = f", {duration}" if _is_long(duration) != dice.chance(P_OTHER_LENGTH) else ""
    return {"report": report, "headline": f"{place}: {name} on {system} ({cause}{tail})"}


def _is_long(duration: str) -> bool:
    """Whether '45 minutes' or '3 hours' is half an hour or more."""
    number, unit = duration.split()
    return unit == "hours" or int(number) >= LONG_MINUTES
