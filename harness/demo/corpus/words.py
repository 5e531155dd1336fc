"""Word pools of the grammar, closed ones as tuples and open ones as functions.

Names, keys and labels come from open pools wherever a skill should copy rather than remember: with a fixed
list the model snaps every unknown word to the nearest one it knows.
"""

from harness.demo.corpus.dice import Dice


def _pool(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


ONSETS = _pool("b c d f g h j k l m n p r s t v w z br cl dr fl gr kr pl pr sh st th tr")
NUCLEI = _pool("a e i o u ai ea io ou")
CODAS = ("", "", "", "l", "m", "n", "r", "s", "t", "x", "rn", "nd", "sk")

FIRST_NAMES = _pool(
    """
    Ada Amir Anna Bela Carl Chen Clara Dario Diego Elena Emil Farid Fiona Greta Hana Hugo Ines Ivan Jonas
    Julia Karim Lara Leo Lina Marco Maria Mira Nadia Nils Nora Omar Otto Paula Petra Rosa Samir Sofia Tara
    Tomas Vera
    """
)
LAST_NAMES = _pool(
    """
    Adler Alves Baker Berg Bauer Costa Dahl Diaz Engel Fischer Fuchs Garcia Hansen Holm Ivers Jansen Kaya
    Keller Lang Larsen Lopez Meyer Moreau Nagy Novak Olsen Patel Petrov Reyes Rossi Sato Silva Stein Tanaka
    Torres Vogel
    """
)
CITIES = _pool(
    """
    Athens Basel Bergen Berlin Bremen Cairo Dublin Geneva Ghent Graz Hamburg Helsinki Kyoto Leeds Lima Lisbon
    London Lyon Madrid Malmo Milan Nairobi Naples Oslo Paris Porto Prague Quito Riga Rome Seoul Sofia Tallinn
    Tokyo Turin Utrecht Vienna Vilnius Warsaw Zurich
    """
)
COLOURS = _pool("black blue brown golden green grey orange pink purple red silver white yellow")
ITEMS = _pool(
    """
    backpack blanket blender bottle camera candle chair clock desk drill fan headset jacket kettle keyboard
    ladder lamp mirror monitor mug notebook oven pan phone pillow printer radio router rug scarf shelf sofa
    speaker stool suitcase table tablet tent toaster umbrella vacuum watch
    """
)
COURIERS = _pool("FastBox Northway PostLine QuickShip RedVan SkyParcel TransGo Windrow")
STATES = ("cancelled", "delayed", "delivered", "in transit", "on hold", "packed", "paid", "pending", "ready", "shipped")
PAYMENTS = ("bank transfer", "cash", "credit card", "debit card", "gift card", "invoice", "voucher")
MONTHS = _pool("January February March April May June July August September October November December")
DAYS = _pool("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
ROLES = _pool(
    """
    analyst baker carpenter chemist cook designer driver editor engineer gardener nurse painter pilot planner
    teacher translator
    """
)
PLAIN = _pool(
    """
    able anchor apple arrow autumn basket bird boat bread bridge bright broken butter calm castle circle cloud
    cold corner curtain dance deep door dream early earth engine evening farm feather field fire flat flower
    forest garden gentle glass gold grass hammer harbour heavy hill honey horse hotel island jewel kitchen
    lake leaf letter light lion market meadow metal milk moon morning mountain narrow needle night noise north
    ocean open orange paper path pepper piano planet plate pocket quiet rain river road rope round salt sand
    school sharp silver simple slow small smoke snow soft song south spoon spring square star stone storm
    street strong summer sweet sword tiger tower train tree valley village violin warm water wave west wheel
    wide wild wind window winter wire wolf wood yellow young
    """
)
SYSTEM_HEADS = _pool(
    """
    account archive auth backup basket billing booking cache catalogue chat checkout customer data delivery
    email event export image inventory invoice ledger login mail map media message metrics mobile order
    partner payment photo price profile queue report search session shop stock storage stream upload user
    video warehouse web
    """
)
SYSTEM_TAILS = _pool("api cluster database gateway job node portal proxy server service site store worker")


def invented(dice: Dice) -> str:
    """A pronounceable word that means nothing: 'brouska'."""
    return "".join(
        dice.pick(ONSETS) + dice.pick(NUCLEI) + dice.pick(CODAS) for _ in range(dice.weighted(((1, 1), (2, 5), (3, 1))))
    )


def any_word(dice: Dice) -> str:
    """A word to use as a key, label or tag: a common one or an invented one."""
    return dice.pick(PLAIN) if dice.chance(0.4) else invented(dice)


def person(dice: Dice) -> str:
    """A first and a last name; one in five last names is invented."""
    last = invented(dice).capitalize() if dice.chance(0.2) else dice.pick(LAST_NAMES)
    return f"{dice.pick(FIRST_NAMES)} {last}"


def city(dice: Dice) -> str:
    """A city; one in six is invented."""
    return invented(dice).capitalize() if dice.chance(0.17) else dice.pick(CITIES)


def item(dice: Dice) -> str:
    """A thing one can buy: 'green kettle'."""
    return f"{dice.pick(COLOURS)} {dice.pick(ITEMS)}" if dice.chance(0.7) else dice.pick(ITEMS)


def system(dice: Dice) -> str:
    """The name of a computer system: 'checkout api', 'brouska gateway', 'mail-node-3'."""
    head = invented(dice) if dice.chance(0.4) else dice.pick(SYSTEM_HEADS)
    tail = dice.pick(SYSTEM_TAILS)
    return dice.weighted(
        ((f"{head} {tail}", 6), (f"{head}-{tail}", 3), (f"{head}-{tail}-{dice.between(1, 9)}", 1), (f"{head}", 1))
    )


def team(dice: Dice) -> str:
    """A team or company name: 'Brouska United'."""
    tail = dice.pick(("Rovers", "United", "City", "Athletic", "Group", "Works", "Labs", "Foods", "Partners"))
    return f"{invented(dice).capitalize()} {tail}"


def date(dice: Dice) -> str:
    """A day of the year: '14 March'."""
    return f"{dice.between(1, 28)} {dice.pick(MONTHS)}"


def clock(dice: Dice) -> str:
    """A time of day: '07:45'."""
    return f"{dice.between(0, 23):02d}:{dice.pick((0, 5, 10, 15, 20, 30, 40, 45, 50)):02d}"


def span(dice: Dice) -> str:
    """A length of time: '25 minutes'."""
    minutes = f"{dice.pick((5, 8, 10, 12, 15, 20, 25, 30, 35, 40, 45, 50, 55, 90))} minutes"
    return minutes if dice.chance(0.75) else f"{dice.between(2, 9)} hours"


def price(dice: Dice) -> str:
    """An amount of money: '48 euros'."""
    return f"{dice.between(3, 480)} euros"


def code(dice: Dice) -> str:
    """A reference number: 'K4821'."""
    return f"{dice.pick('ABCDEFGHKLMNPRSTX')}{dice.between(100, 9999)}"


def phrase(dice: Dice, low: int = 1, high: int = 6) -> str:
    """Some words in a row that mean nothing together."""
    return " ".join(any_word(dice) for _ in range(dice.between(low, high)))
