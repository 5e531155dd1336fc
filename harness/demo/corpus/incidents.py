"""Incidents of computer systems: what happens to them, why, and the many ways to report it."""

from harness.demo.corpus import words
from harness.demo.corpus.slots import HOUR, LENGTH, WHERE, Domain, Slot, number, one_of, plain

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

# Who reports, and what they say: all combinations, so that a model learns the parts and not the sentences.
FINDERS = ("The team", "Experts", "Our staff", "The review", "The report", "The operator", "A first look", "Everyone")
FOUND = ("found", "named", "suspected", "saw", "pointed to", "blamed", "showed", "spoke of")
PEOPLE = ("Users", "People", "Clients", "Branches", "Shops", "Visitors", "Partners", "Our offices", "Some customers")
SUFFERED = ("complained", "called us", "noticed it", "had to wait", "were hit", "were affected", "wrote to us")
PLACES = tuple(f"{who} in {{place}} {what}." for who in PEOPLE for what in SUFFERED)
CAUSE_SENTENCES = tuple(f"{who} {what} {{cause}}." for who in FINDERS for what in FOUND)
SYMPTOM_SENTENCES = tuple(
    f"{when} the {{system}} {{symptom}}{where}."
    for when in (
        "Today",
        "Last night",
        "In the morning",
        "It seems that",
        "We saw that",
        "An alarm told us that",
        "Again",
    )
    for where in ("", "", " in {place}", " because of {cause}")
)

INCIDENT = Domain(
    ("incident", "outage", "fault", "disruption", "trouble"),
    {
        "system": Slot(
            ("system", "service", "component"),
            plain(words.system),
            ("What failed?", "What was hit?"),
            (" on ", ": ", " at "),
        ),
        "symptom": Slot(
            ("symptom", "problem", "effect"), one_of(*SYMPTOMS), ("What went wrong?",), (": ", " - ", " with ", ", ")
        ),
        "cause": Slot(
            ("cause", "reason", "trigger"),
            one_of(*CAUSES),
            ("Why did it happen?", "What caused it?"),
            (" after ", " due to ", ", cause: ", " by "),
        ),
        "place": WHERE,
        "duration": LENGTH,
        "start": HOUR,
        "users": Slot(
            ("users", "people", "affected"), number(20, 900), ("How many users were hit?",), (", users: ", " / ")
        ),
        "grade": Slot(
            ("severity", "grade", "level"), one_of("SEV1", "SEV2", "SEV3", "P1", "P2", "P3"), (), (" ", ", ")
        ),
    },
    (
        *PLACES,
        *CAUSE_SENTENCES,
        *SYMPTOM_SENTENCES,
        "The {system} {symptom} because of {cause}.",
        "The {system} in {place} {symptom}.",
        "At {start} the {system} {symptom}.",
        "Since {start} our {system} {symptom}.",
        "It was {start} when the {system} {symptom}.",
        "The {system} was hit.",
        "We had trouble with the {system}.",
        "One part {symptom}.",
        "Reports say that it {symptom}.",
        "The reason was {cause}.",
        "It was traced to {cause}.",
        "It came from {cause}.",
        "It was caused by {cause}.",
        "{cause} was to blame.",
        "{cause} had started it.",
        "It lasted {duration}.",
        "After {duration} all was well again.",
        "The trouble went on for {duration}.",
        "The repair took {duration}.",
        "It was over after {duration}.",
        "{duration} later everything worked.",
        "Service came back {duration} later.",
        "We needed {duration} to fix it.",
        "For {duration} nothing worked.",
        "Only {place} was affected.",
        "It was seen in {place}.",
        "The first calls came from {place}.",
        "All other places but {place} were fine.",
        "Nobody in {place} could work.",
        "It began at {start}.",
        "The first alarm rang at {start}.",
        "It started at {start}.",
        "About {users} users noticed.",
        "{users} people were hit.",
        "The incident was rated {grade}.",
        "It counts as {grade}.",
    ),
    asides=(
        "{name} wrote the report.",
        "{name} was on duty.",
        "We will look at the {system} on {day}.",
        "The {system} kept running.",
        "{city} was fine.",
        "The {system} in {city} was not hit.",
        "We talk about it on {day}.",
        "It happened on {day}.",
        "{count} people wrote to us.",
        "All data is safe.",
        "There is nothing else to say.",
    ),
)
