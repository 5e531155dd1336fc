"""Classification episodes: messages to labels, one or two at a time, in an answer form the episode chooses."""

from harness.demo.corpus import words
from harness.demo.corpus.dice import Dice
from harness.demo.corpus.episode import Episode, assemble, n_turns
from harness.demo.corpus.fill import fill
from harness.demo.corpus.topics import ATTITUDES, FILLERS, GENERAL, OPENINGS, SUPPORT, Topic

Labelled = list[tuple[Topic, str]]

# How people call the kind of thing a label says.
TOPIC_KEYS = ("category", "topic", "kind", "class", "type", "label", "subject", "queue", "area", "group")
ATTITUDE_KEYS = (
    ("priority", "urgency", "level", "speed", "severity"),
    ("mood", "tone", "feeling", "sentiment"),
    ("sender", "source", "author", "role"),
)


def classify(dice: Dice) -> Episode:
    """Messages with their topic, their attitude or both."""
    axes = _axes(dice)
    form, mark = _form(dice, len(axes)), _mark(dice)
    instruction = _instruction(dice, axes, form)
    pairs = []
    for _ in range(n_turns(dice)):
        chosen = [(key, *dice.pick(labels)) for key, labels in axes]
        message = mark + compose(dice, [topic for _, topic, _ in chosen])
        pairs.append((message, form.format(*(word for key, _, label in chosen for word in (key, label)))))
    return assemble(dice, "classify", instruction, pairs, told=_told(axes, form, instruction))


def compose(dice: Dice, topics: list[Topic]) -> str:
    """A message that shows every one of the topics, among sentences that show none."""
    parts = [topic.cue(dice) for topic in topics]
    if dice.chance(0.3) and topics[0] in SUPPORT:
        parts[0] = parts[0].replace(" the ", " our ", 1)
    parts += [fill(dice, filler) for filler in dice.sample(FILLERS, dice.weighted(((0, 5), (1, 4), (2, 1))))]
    if dice.chance(0.4):
        parts = dice.shuffled(parts)
    if dice.chance(0.3):
        parts.insert(0, fill(dice, dice.pick(OPENINGS)))
    text = dice.pick((". ", ". ", ", ", "; ")).join(parts)
    return text if dice.chance(0.4) else f"{text[0].upper()}{text[1:]}."


def labelled(dice: Dice, topics: list[Topic]) -> Labelled:
    """Each topic with its label in this episode: mostly its usual name or a synonym, else a word without a hint."""
    natural, usual = dice.chance(0.75), dice.chance(0.5)
    labels: Labelled = []
    for topic in topics:
        label = (topic.labels[0] if usual else dice.pick(topic.labels)) if natural else words.any_word(dice)
        while label in (taken for _, taken in labels):
            label = words.any_word(dice)
        labels.append((topic, label))
    return labels


def _axes(dice: Dice) -> list[tuple[str, Labelled]]:
    """One or two questions about each message, each with a key word and the possible labels."""
    pool = dice.weighted(((SUPPORT, 6), (GENERAL, 2), (SUPPORT + GENERAL, 3)))
    topic = (_key(dice, TOPIC_KEYS), labelled(dice, dice.sample(pool, dice.between(2, 5))))
    which = dice.weighted(((0, 6), (1, 2), (2, 1)))
    attitude = (_key(dice, ATTITUDE_KEYS[which]), labelled(dice, list(ATTITUDES[which])))
    axes = dice.weighted((([topic], 5), ([attitude], 2), ([topic, attitude], 6)))
    return _apart(dice, axes) if len(axes) == 2 else axes


def _key(dice: Dice, usual: tuple[str, ...]) -> str:
    return dice.pick(usual) if dice.chance(0.6) else words.any_word(dice)


def _apart(dice: Dice, axes: list[tuple[str, Labelled]]) -> list[tuple[str, Labelled]]:
    """The two axes, never under the pair of keys that the tickets task asks for."""
    if {key for key, _ in axes} == {"category", "priority"}:
        axes[0] = (words.any_word(dice), axes[0][1])
    return axes


def _form(dice: Dice, n_axes: int) -> str:
    """How the answer is written: a format string over key, label (and key, label)."""
    if n_axes == 1:
        return dice.weighted(
            (
                ("{1}", 8),
                ("{0}: {1}", 2),
                ('{{"{0}": "{1}"}}', 3),
                ("[{1}]", 1),
                ("{1}.", 1),
                ("{0}={1}", 1),
                ("The {0} is {1}.", 1),
                (f"{dice.pick('#*>@')}{{1}}", 1),
                (f"{words.invented(dice)} {{1}}", 1),
            )
        )
    return dice.weighted(
        (
            ('{{"{0}": "{1}", "{2}": "{3}"}}', 8),
            ("{0}: {1}, {2}: {3}", 2),
            ("{1} / {3}", 2),
            ("{1}, {3}", 2),
            ("{0}={1} {2}={3}", 1),
            ("{1} ({3})", 2),
            ("[{1}] [{3}]", 1),
            ("{0}: {1}\n{2}: {3}", 1),
        )
    )


def _instruction(dice: Dice, axes: list[tuple[str, Labelled]], form: str) -> str:
    """What to do: the keys, usually the possible labels, sometimes the form of the answer."""
    keys = " and ".join(key for key, _ in axes)
    text = dice.pick(
        (
            "Name the {} of the message.",
            "Classify the message by {}.",
            "Give the {}.",
            "What is the {} of this text?",
            "Sort the message by {}.",
            "Read the message and answer with its {}.",
            "Find the {} of each message.",
        )
    ).format(keys)
    if dice.chance(0.55):
        listing = dice.pick(("{}: {}.", "{} is one of {}.", "{} can be {}.", "Possible {}: {}.", "{} ({})."))
        text += "".join(" " + listing.format(key, ", ".join(v for _, v in dice.shuffled(ls))) for key, ls in axes)
    if form.startswith("{{") and dice.chance(0.6):
        text += dice.pick((" Answer as JSON.", " Reply in JSON.", " Use JSON."))
    return text


def _mark(dice: Dice) -> str:
    """What stands before every message of the episode; usually nothing."""
    return dice.weighted((("", 12), ("Message: ", 2), ("Text: ", 1), ("> ", 1), (f"{words.invented(dice)}: ", 1)))


def _told(axes: list[tuple[str, Labelled]], form: str, instruction: str) -> bool:
    """Whether the instruction lists labels that mean something, and asks for the form unless it is the plain one."""
    meaningful = all(label in topic.labels for _, labels in axes for topic, label in labels)
    listed = all(label in instruction for _, labels in axes for _, label in labels)
    return meaningful and listed and (form == "{1}" or "JSON" in instruction)
