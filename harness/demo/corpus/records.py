"""Episodes about events: answers to questions, extracted fields and reformatted records."""

from harness.demo.corpus import words
from harness.demo.corpus.dice import Dice
from harness.demo.corpus.domains import DOMAINS, Event, draw, tell
from harness.demo.corpus.episode import Episode, assemble, n_turns
from harness.demo.corpus.forms import Form, JsonForm, Pairs, draw_form
from harness.demo.corpus.slots import Domain

Keys = dict[str, str]


def qa(dice: Dice) -> Episode:
    """Records or reports, each with a question and its short answer."""
    domain = dice.pick(DOMAINS)
    names = dice.sample(list(domain.slots), dice.between(3, 6))
    keys, form, as_prose = draw_keys(dice, domain, names), draw_form(dice), dice.chance(0.2)
    answer_form, ask_by_key, question_first = _answer_form(dice), dice.chance(0.5), dice.chance(0.2)
    label = dice.weighted((("", 4), ("Question: ", 1), ("Q: ", 1)))
    pairs = []
    for _ in range(n_turns(dice)):
        event, name = draw(dice, domain, names), dice.pick(names)
        text = tell(dice, event) if as_prose else form.write(listed(keys, event, names))
        asked = label + _question(dice, domain, name, keys[name] if ask_by_key else "")
        answer = answer_form.format(keys[name], event.facts[name].short)
        pairs.append((f"{asked}\n{text}" if question_first else f"{text}\n{asked}", answer))
    instruction = dice.pick(
        (
            "Answer the question.",
            "Answer from the record.",
            "Look it up.",
            "Reply with the value.",
            "Give a short answer.",
            f"Answer questions about the {dice.pick(domain.nouns)}.",
        )
    )
    return assemble(dice, "qa", instruction, pairs, told=answer_form == "{1}")


def extract(dice: Dice) -> Episode:
    """Reports with some of their facts written out as JSON or as a record."""
    domain = dice.pick(DOMAINS)
    names = dice.sample(list(domain.slots), dice.between(2, 5))
    wanted = dice.sample(names, dice.between(1, 3))
    keys, form = draw_keys(dice, domain, names), draw_form(dice, p_json=0.6)
    pairs = []
    for _ in range(n_turns(dice)):
        event = draw(dice, domain, names)
        pairs.append((tell(dice, event), form.write(listed(keys, event, wanted))))
    fields = ", ".join(keys[name] for name in wanted)
    instruction = dice.pick(("Extract {}{}.", "Find {} in the text{}.", "Give {}{}.", "Fields: {}{}."))
    return assemble(dice, "extract", instruction.format(fields, _like(form, wanted)), pairs, told=True)


def reformat(dice: Dice) -> Episode:
    """Records rewritten from one form into another."""
    domain = dice.pick(DOMAINS)
    names = dice.sample(list(domain.slots), dice.between(1, 4))
    keys, before, after = draw_keys(dice, domain, names), draw_form(dice), draw_form(dice, p_json=0.3)
    pairs = []
    for _ in range(n_turns(dice)):
        event = draw(dice, domain, names)
        pairs.append((before.write(listed(keys, event, names)), after.write(listed(keys, event, names))))
    verb = dice.pick(("Rewrite", "Write", "Reformat"))
    return assemble(dice, "reformat", f"{verb} the record{_like(after, names)}.", pairs, told=True)


def draw_keys(dice: Dice, domain: Domain, names: list[str]) -> Keys:
    """What this episode's records call each slot: a usual word or any word, all different."""
    keys: Keys = {}
    for name in names:
        key = words.any_word(dice) if dice.chance(0.25) else dice.pick(domain.slots[name].keys)
        while key in keys.values():
            key = words.any_word(dice)
        keys[name] = key
    return keys


def listed(keys: Keys, event: Event, names: list[str]) -> Pairs:
    """The named facts of the event as (key, value) pairs."""
    return [(keys[name], event.facts[name].short) for name in names]


def _answer_form(dice: Dice) -> str:
    """How the episode's answers are written: a format string over key and value."""
    return dice.weighted(
        (
            ("{1}", 9),
            ("{1}.", 1),
            ("The {0} is {1}.", 2),
            ("{0}: {1}", 1),
            ('"{1}"', 1),
            (f"{words.any_word(dice)} {{1}}", 1),
        )
    )


def _question(dice: Dice, domain: Domain, name: str, key: str) -> str:
    """A question for the slot, with the record's key where one is given or the slot has no question of its own."""
    slot = domain.slots[name]
    if not key and slot.asks:
        return dice.pick(slot.asks)
    return dice.pick(("What is the {}?", "{}?", "Give the {}.", "Which {} is it?", "Tell me the {}.")).format(
        key or slot.keys[0]
    )


def _like(form: Form | JsonForm, names: list[str]) -> str:
    """The words that ask for the form: by its name, or by an example with two pairs if there will be several."""
    if isinstance(form, JsonForm):
        return " as JSON"
    return f" like this: {form.write([('key', 'value')] * min(2, len(names)))}"
