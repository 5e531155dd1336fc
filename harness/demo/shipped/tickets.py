"""Customer messages with the category and the priority that the help desk gave them."""

import json

from harness.demo.corpus.dice import Dice
from harness.demo.corpus.fill import fill

Row = dict[str, str]

PROBLEMS = {
    "billing": (
        "your invoice is too high",
        "my card was charged a second time",
        "the amount on the bill is wrong",
        "the payment went through twice",
        "i was billed {price} for nothing",
        "my receipt for {price} is missing",
        "the discount is not on my bill",
        "i do not understand the fee on the invoice",
        "you took {price} from my card without asking",
        "the invoice has the wrong tax",
        "my voucher was not booked",
        "the bank says your charge is wrong",
        "i got the same bill twice",
        "the price on the invoice is not what we agreed",
        "my bank transfer of {price} is not on your list",
        "i paid and still get a bill",
    ),
    "delivery": (
        "the parcel never came",
        "the courier went to the wrong house",
        "my box with the {item} is lost",
        "tracking says the shipment is still in {city}",
        "the package was left in the rain",
        "{courier} did not ring my bell",
        "the {item} should have arrived on {day}",
        "the driver took my parcel back",
        "my shipment goes to the wrong city",
        "half of the shipment is still on its way",
        "the tracking page of {courier} shows nothing",
        "the parcel with the {item} is late",
        "nobody knows where my package is",
        "when does the courier come with the {item}",
        "the box arrived at the wrong address in {city}",
        "{courier} lost my {item}",
    ),
    "account": (
        "my password is not accepted",
        "i cannot sign in since {day}",
        "the login code never comes",
        "my profile shows the wrong name",
        "my account was blocked",
        "i forgot my user name",
        "somebody changed my password",
        "please delete my profile",
        "the reset mail for my login is missing",
        "i want a new email on my account",
        "my login works on the phone but not on the tablet",
        "please unlock my account",
        "i am signed out every minute",
        "my old account in {city} is still open",
        "the password rules make no sense",
        "there are two profiles with my name",
    ),
    "returns": (
        "i want to give the {item} back",
        "the {item} is too small, please exchange it",
        "how can i return the {item}",
        "i still wait for my refund",
        "please cancel the {item}",
        "i sent back the {item} but got no money",
        "i would like a {colour} one instead of the {item}",
        "the return label for the {item} is missing",
        "i do not want the {item} any more",
        "when do i get the money for the {item} i sent back",
        "can i exchange the {item}",
        "the refund of {price} never came",
        "i ordered the {item} by mistake and cancel it",
        "may i send the {item} back after {month}",
        "please take the {item} back",
        "the swap of my {item} takes too long",
    ),
    "software": (
        "your app crashes all the time",
        "the website does not load",
        "the search on the page finds nothing",
        "the app shows a white screen",
        "since the update the app is slow",
        "the page shows an error code",
        "the app does not install on my phone",
        "the button for the basket does nothing",
        "your site is down",
        "the browser says your page is broken",
        "the map on the website is blank",
        "the app freezes at the start",
        "the new version of the app has no menu",
        "the website shows old pages",
        "the app uses up my battery",
        "an error comes up when i open the page",
    ),
}
PRIORITIES = {
    "high": (
        "i need help today",
        "this is really urgent",
        "please act right now",
        "i cannot wait any longer",
        "answer at once",
        "everything stands still here",
        "it is an emergency for us",
        "please fix it immediately",
    ),
    "normal": (
        "please check this",
        "what can i do",
        "please let me know what happens",
        "i hope for your help",
        "can you look into it",
        "thanks for an answer this week",
        "please get back to me",
        "i look forward to hearing from you",
    ),
    "low": (
        "take all the time you need",
        "it is not that important",
        "no rush at all",
        "it can wait until {month}",
        "there is really no hurry",
        "answer whenever you have time",
        "just so that you know",
        "it only matters a little",
    ),
}
CATEGORY_WEIGHTS = (("billing", 26), ("delivery", 24), ("account", 19), ("returns", 17), ("software", 14))
PRIORITY_WEIGHTS = (("normal", 42), ("high", 31), ("low", 27))
# A sentence about something that is in order, often from another category than the message's own.
ASIDES = (
    "the invoice was fine",
    "the parcel came on time",
    "the app works well",
    "my last return was easy",
    "the login was no problem",
    "the {item} itself is good",
    "my order is {code}",
    "i bought it on {date}",
    "i live in {city}",
    "my name is {name}",
    "i have called twice",
    "i wrote to you on {day}",
)
GREETINGS = ("hello", "hi", "dear team", "good morning", "hello {name}", "good evening", "dear {name}")


def draw(dice: Dice) -> Row:
    """A message and its triage as one line of JSON."""
    category, priority = dice.weighted(CATEGORY_WEIGHTS), dice.weighted(PRIORITY_WEIGHTS)
    parts = [dice.pick(PROBLEMS[category]), dice.pick(PRIORITIES[priority])]
    if dice.chance(0.3):
        parts.reverse()
    for aside in dice.sample(ASIDES, dice.weighted(((0, 2), (1, 4), (2, 2)))):
        parts.insert(dice.between(0, len(parts)), aside)
    if dice.chance(0.5):
        parts.insert(0, dice.pick(GREETINGS))
    message = ". ".join(text[0].upper() + text[1:] for text in (fill(dice, part) for part in parts)) + "."
    answer = json.dumps({"category": category, "priority": priority})
    return {"message": message, "triage": answer, "category": category, "priority": priority}
