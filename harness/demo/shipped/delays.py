"""Delivery tours and their delay in minutes: a number that follows from the record, but for a little chance."""

from harness.demo.corpus import words
from harness.demo.corpus.dice import Dice

Row = dict[str, str]

PROMPT = "courier: {courier}\ncity: {city}\nweather: {weather}\ntraffic: {traffic}\nstops: {stops}"
# Minutes that each adds to the delay; courier and city add none.
WEATHER = {"clear": 0, "rain": 10, "fog": 20, "snow": 40}
TRAFFIC = {"light": 0, "normal": 10, "heavy": 30}
MINUTES_PER_STOP = 2
# Chance adds a whole number of minutes from minus to plus this.
NOISE = 2


def draw(dice: Dice) -> Row:
    """A tour's record and its delay in whole minutes, which is never negative."""
    row = {
        "courier": dice.pick(words.COURIERS),
        "city": words.city(dice),
        "weather": dice.pick(list(WEATHER)),
        "traffic": dice.pick(list(TRAFFIC)),
        "stops": str(dice.between(1, 9)),
    }
    return {**row, "delay": str(foreseen(row) + dice.between(-NOISE, NOISE))}


def foreseen(row: Row) -> int:
    """The delay without chance, in minutes."""
    return WEATHER[row["weather"]] + TRAFFIC[row["traffic"]] + MINUTES_PER_STOP * int(row["stops"])
