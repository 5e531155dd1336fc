"""What messages can be about: topics and attitudes, the words people label them with, and how they sound."""

from dataclasses import dataclass

from harness.demo.corpus.dice import Dice
from harness.demo.corpus.fill import fill


@dataclass(frozen=True, slots=True)
class Topic:
    """A class of messages: the names people give it, most usual first, and sentences and nouns that show it."""

    labels: tuple[str, ...]
    cues: tuple[str, ...]
    nouns: tuple[str, ...] = ()

    def cue(self, dice: Dice) -> str:
        """A sentence that shows the topic: one of its own, or a noun of it in a sentence that fits any."""
        if self.nouns and dice.chance(0.5):
            return fill(dice, dice.pick(FRAMES).replace("{noun}", dice.pick(self.nouns)))
        return fill(dice, dice.pick(self.cues))


FRAMES = (
    "there is a problem with the {noun}",
    "my question is about the {noun}",
    "the {noun} is wrong",
    "the {noun} is missing",
    "please check the {noun}",
    "i do not understand the {noun}",
    "something happened to the {noun}",
    "what about my {noun}",
    "nobody could help me with the {noun}",
    "the {noun} was a surprise",
    "i wrote to you about my {noun}",
    "i am not sure about the {noun}",
    "can you explain the {noun}",
    "we talked about the {noun}",
    "my {noun} is not right",
    "since {day} i have trouble with the {noun}",
    "you forgot my {noun}",
    "the {noun} does not work",
    "{name} asked for the {noun}",
    "in {city} the {noun} is different",
    "the {noun} takes too long",
    "the {noun} came twice",
    "i still wait for the {noun}",
)


SUPPORT = (
    Topic(
        ("billing", "payment", "invoices", "charges", "finance"),
        (
            "the invoice shows the wrong amount",
            "i was charged twice for the {item}",
            "my card payment was declined",
            "there is a strange charge on my card",
            "the bill is higher than agreed",
            "i never got a receipt",
            "the bank transfer has not been booked",
            "the discount is missing from the invoice",
            "i paid {price} but the invoice says more",
            "the fee on my bill makes no sense",
            "please correct the tax on my invoice",
            "the voucher was not taken off the price",
        ),
        (
            "invoice",
            "bill",
            "receipt",
            "fee",
            "charge",
            "payment",
            "card payment",
            "bank transfer",
            "discount",
            "tax",
            "amount on the bill",
            "price on the invoice",
            "voucher",
        ),
    ),
    Topic(
        ("delivery", "shipping", "parcels", "transport", "logistics"),
        (
            "the parcel with the {item} has not arrived",
            "the courier left the box at the wrong door",
            "tracking has shown no news since {day}",
            "the driver never rang the bell",
            "my package is stuck in {city}",
            "the shipment is late again",
            "the {item} was sent to the old address",
            "{courier} says the parcel is lost",
            "when will the {item} be shipped",
            "the box went to {city} by mistake",
            "nobody delivered on {day}",
            "the tracking number does not work",
        ),
        (
            "parcel",
            "package",
            "shipment",
            "courier",
            "driver",
            "tracking",
            "tracking page",
            "tracking number",
            "delivery",
            "box",
            "transport",
            "delivery address",
        ),
    ),
    Topic(
        ("account", "login", "access", "profile", "password"),
        (
            "i cannot log in any more",
            "the password reset mail does not come",
            "my account is locked",
            "please change the email on my profile",
            "the login page rejects my password",
            "my user name is gone",
            "someone else signed in to my account",
            "i want to close my profile",
            "the sign in code is never accepted",
            "how do i change my password",
            "my access was blocked on {day}",
            "i need a second user on my account",
        ),
        (
            "account",
            "login",
            "password",
            "user name",
            "profile",
            "sign in",
            "login code",
            "reset mail",
            "email address",
            "second user",
            "password rule",
        ),
    ),
    Topic(
        ("returns", "refund", "exchange", "cancellation", "withdrawal"),
        (
            "i want to send the {item} back",
            "the {item} does not fit and i want my money back",
            "how do i return the {item}",
            "please exchange the {item} for a {colour} one",
            "i would like to cancel the order for the {item}",
            "where is the refund for the {item}",
            "i sent the {item} back on {day} and heard nothing",
            "the return label does not print",
            "i changed my mind about the {item}",
            "can i swap the {item} for another size",
            "i no longer want the {item}",
            "the refund has not reached me",
        ),
        (
            "refund",
            "return",
            "return label",
            "exchange",
            "swap",
            "cancellation",
            "money for the return",
            "item i sent back",
        ),
    ),
    Topic(
        ("defect", "damage", "quality", "repair", "warranty"),
        (
            "the {item} is broken",
            "the {item} arrived with a crack",
            "the {item} stopped working after one day",
            "a part of the {item} is missing",
            "the {item} makes a loud noise",
            "the {item} smells of smoke",
            "the {item} has a scratch",
            "the handle of the {item} came off",
            "the {item} gets far too hot",
            "the {item} does not turn on",
            "one leg of the {item} is bent",
            "the {item} leaks",
        ),
        (
            "broken {item}",
            "scratch",
            "crack",
            "damage",
            "missing part",
            "handle",
            "loose leg",
            "leak",
            "strange noise",
            "warranty",
            "repair",
        ),
    ),
    Topic(
        ("software", "app", "technical", "bug", "website"),
        (
            "the app crashes when i open it",
            "the website shows a blank page",
            "the update broke the search",
            "the page loads for minutes",
            "the app freezes on my tablet",
            "an error code shows up in the browser",
            "the button on the page does nothing",
            "the app drains the battery",
            "the site is down again",
            "the new version does not install",
            "the map in the app is empty",
            "the screen of the app stays white",
        ),
        (
            "app",
            "website",
            "page",
            "update",
            "error code",
            "browser",
            "search on the page",
            "button",
            "screen of the app",
            "new version",
            "site",
            "map in the app",
        ),
    ),
)

GENERAL = (
    Topic(
        ("sport", "match", "football", "games"),
        (
            "{team} won the match",
            "the striker scored twice",
            "the coach changed the whole team",
            "the goalkeeper saved a penalty",
            "the final was played in {city}",
            "{name} ran the race in record time",
        ),
        ("match", "striker", "goal", "team", "final", "race", "coach"),
    ),
    Topic(
        ("weather", "climate", "forecast"),
        (
            "it rained all day in {city}",
            "a storm reached {city}",
            "the wind turned cold at night",
            "snow fell on {day}",
            "the sun came out in {city}",
            "thick fog covered the road",
        ),
        ("rain", "storm", "wind", "snow", "sun", "fog"),
    ),
    Topic(
        ("food", "cooking", "kitchen", "meals"),
        (
            "the soup needs more salt",
            "{name} baked fresh bread",
            "the cake was in the oven too long",
            "we had fish and rice in {city}",
            "the cook burned the butter",
            "the salad came with honey and cheese",
        ),
        ("soup", "bread", "cake", "fish", "salad", "oven", "cook"),
    ),
    Topic(
        ("music", "concert", "songs"),
        (
            "the band played until midnight",
            "{name} sang two new songs",
            "the violin was out of tune",
            "the choir sang in {city}",
            "the piano needs tuning",
            "the drummer lost the beat",
        ),
        ("band", "song", "violin", "piano", "choir", "drum"),
    ),
    Topic(
        ("travel", "trips", "holiday", "tourism"),
        (
            "the train to {city} was full",
            "we booked a hotel in {city}",
            "the flight landed early",
            "{name} walked along the coast",
            "the ferry leaves on {day}",
            "the guide showed us the old town",
        ),
        ("train", "hotel", "flight", "ferry", "guide", "trip"),
    ),
    Topic(
        ("health", "medicine", "clinic"),
        (
            "the doctor looked at the knee",
            "{name} has a fever",
            "the nurse changed the bandage",
            "the tooth still hurts",
            "the clinic is closed on {day}",
            "take the pills after lunch",
        ),
        ("doctor", "fever", "nurse", "tooth", "pill", "clinic"),
    ),
    Topic(
        ("garden", "plants", "nature"),
        (
            "the roses need water",
            "{name} planted two apple trees",
            "the lawn is dry",
            "the tulips opened early",
            "the hedge was cut on {day}",
            "slugs ate the lettuce",
        ),
        ("rose", "tree", "lawn", "hedge", "tulip", "flower"),
    ),
    Topic(
        ("school", "lessons", "education", "learning"),
        (
            "the pupils wrote a test",
            "{name} teaches history",
            "the homework was too hard",
            "the class went to the museum in {city}",
            "the exam is on {day}",
            "the teacher praised the essay",
        ),
        ("test", "homework", "class", "exam", "teacher", "lesson"),
    ),
    Topic(
        ("jobs", "career", "hiring", "work"),
        (
            "{name} starts as a {role}",
            "we are looking for a {role}",
            "the office in {city} is hiring",
            "{name} got a raise",
            "the interview is on {day}",
            "the {role} asked for part time",
        ),
        ("job", "interview", "office", "raise", "contract"),
    ),
    Topic(
        ("traffic", "roads", "transport"),
        (
            "two lanes are closed near {city}",
            "a truck blocked the bridge",
            "the queue is long at the tunnel",
            "buses to {city} run late",
            "the road works end on {day}",
            "a cyclist was stopped at the crossing",
        ),
        ("lane", "truck", "bus", "tunnel", "bridge", "crossing"),
    ),
)

# A second thing to say about a message: how urgent, how friendly, from whom.
URGENCY = (
    Topic(
        ("high", "urgent", "critical", "major"),
        (
            "this is urgent",
            "i need an answer today",
            "please act at once",
            "it cannot wait",
            "this is an emergency",
            "i need this fixed right now",
            "everything stands still until this is solved",
            "reply immediately",
        ),
    ),
    Topic(
        ("normal", "medium", "standard", "regular"),
        (
            "please look into it",
            "thanks for your help",
            "please let me know",
            "i hope you can help",
            "what should i do",
            "please get back to me this week",
            "can you check",
            "i look forward to your answer",
        ),
    ),
    Topic(
        ("low", "minor", "relaxed", "later"),
        (
            "there is no hurry",
            "take your time",
            "it is not important",
            "whenever you have time",
            "no need to rush",
            "this can wait until next month",
            "just for your information",
            "answer when it suits you",
        ),
    ),
)
MOOD = (
    Topic(
        ("positive", "happy", "good", "praise"),
        ("i am very pleased", "great work", "i love it", "what a lovely surprise", "i would recommend it to anyone"),
    ),
    Topic(
        ("negative", "angry", "bad", "complaint"),
        ("i am very disappointed", "this is terrible", "i am furious", "what a waste of money", "never again"),
    ),
    Topic(
        ("neutral", "calm", "mixed", "plain"),
        ("it is what it is", "that is all", "so much for the facts", "i just wanted to report it", "end of note"),
    ),
)
SENDER = (
    Topic(("customer", "client", "buyer"), ("i bought from you last year", "i shop with you often")),
    Topic(("partner", "supplier", "dealer"), ("we supply your shop", "we sell your goods in {city}")),
    Topic(("staff", "employee", "colleague"), ("i work in your {city} office", "i sit next to {name} in the team")),
)
ATTITUDES = (URGENCY, MOOD, SENDER)

OPENINGS = ("hello", "hi", "dear team", "good morning", "hi there", "hello {name}", "to whom it may concern")
FILLERS = (
    "i have been with you for years",
    "my order is {code}",
    "it was bought on {date}",
    "i live in {city}",
    "a friend told me to write",
    "i tried it twice",
    "i already called",
    "my name is {name}",
    "the same happened in {month}",
    "i wrote on {day} as well",
)
