"""What the fields of rows are for: told from names first, from what they hold second, and never guessed in silence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from harness.core.errors import HarnessError
from harness.data.display import escape, quote
from harness.scaffold.files import Table
from harness.scaffold.proposal import Choice

N_LOOKED_AT = 2_000

# Most telling first: "question" is a prompt wherever it stands, "text" only where nothing better does.
_PROMPTS = (
    "prompt", "question", "query", "input", "inputs", "instruction", "source", "src", "utterance", "sentence",
    "document", "article", "abstract", "passage", "dialogue", "dialog", "conversation", "message", "report", "record",
    "mr", "meaningrepresentation", "context", "text", "content", "body", "request", "review", "email", "post",
    "description", "premise", "title",
)  # fmt: skip
_REFERENCES = (
    "reference", "references", "completion", "completions", "output", "outputs", "response", "answer", "answers",
    "target", "targets", "tgt", "expected", "gold", "label", "labels", "intent", "class", "category", "sentiment",
    "summary", "summaries", "highlights", "tldr", "translation", "translations", "ref", "refs", "headline", "reply",
    "solution", "result", "verdict", "score", "rating", "stars", "price", "value", "triage", "topic", "title",
)  # fmt: skip
# A part of the prompt and the part that follows it.
_TOGETHER = (
    ("context", "question"), ("passage", "question"), ("document", "question"), ("record", "question"),
    ("subject", "body"), ("subject", "message"), ("title", "body"), ("title", "text"), ("premise", "hypothesis"),
    ("sentence1", "sentence2"), ("question1", "question2"), ("instruction", "input"), ("instruction", "context"),
)  # fmt: skip
_GROUPS = re.compile(
    r"customer|user|client|patient|author|speaker|session|conversation|dialogue|thread|document|doc|article|paper|"
    r"account|company|household|subject_?id|group|cluster|source_?id|template"
)
_SLICES = ("language", "lang", "locale", "domain", "difficulty", "tag", "source", "type", "category", "topic")
_CODES = frozenset({
    "ar", "bg", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "he", "hi", "hu", "it", "ja", "ko", "lt",
    "lv", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sl", "sv", "th", "tr", "uk", "vi", "zh",
})  # fmt: skip
_MAX_SLICE_VALUES = 12
_MIN_ROWS_A_VALUE = 5


@dataclass(frozen=True, slots=True)
class Field:
    """A field over the rows that were looked at. values: its strings and whole numbers with their counts.

    n_filled: rows in which it is neither absent, null nor blank. mean_length: characters of its texts.
    """

    name: str
    n_rows: int
    n_filled: int
    values: Counter[str]
    mean_length: float
    is_list: bool

    @property
    def key(self) -> str:
        """The name without case and punctuation."""
        return _key(self.name)

    @property
    def is_everywhere(self) -> bool:
        """Whether every row has it."""
        return self.n_filled == self.n_rows

    @property
    def is_unique(self) -> bool:
        """Whether every row has it and no two rows share a value."""
        return self.is_everywhere and len(self.values) == self.n_rows


@dataclass(frozen=True, slots=True)
class Roles:
    """The [data] settings that say how a row is read, the fields they use, and whether two languages were named."""

    choices: tuple[Choice, ...]
    used: frozenset[str]
    translates: bool = False


def fields_of(tables: Sequence[Table]) -> tuple[Field, ...]:
    """Every field of the first rows of each file, in the order of their appearance."""
    rows = [row for table in tables for row in table.rows[:N_LOOKED_AT]]
    names = dict.fromkeys(name for row in rows for name in row)
    return tuple(_field(name, rows) for name in names)


def roles_of(tables: Sequence[Table], given: Mapping[str, JsonValue]) -> Roles:
    """How the rows are to be read; E-FIELD with the way out where the fields do not tell.

    given: [data] settings that were typed, which are kept.
    """
    if given.get("prompt") is not None or given.get("messages") is not None:
        texts = " ".join(str(given.get(key, "")) for key in ("prompt", "reference", "system"))
        holes = {name for hole in re.findall(r"\{([^{}]+)\}", texts) for name in hole.split("|")}
        return Roles((), frozenset(name.partition(".")[0] for name in holes) | holes)
    if given.get("format", "auto") not in ("auto", "columns"):
        return Roles((), frozenset())
    return _known_format(tables) or _columns(tables)


def group_of(fields: Sequence[Field], used: frozenset[str]) -> Choice | None:
    """A field whose values repeat and that is named after what rows have in common."""
    for field in fields:
        repeats = field.is_everywhere and _MAX_SLICE_VALUES < len(field.values) <= 0.9 * field.n_rows
        named = _GROUPS.search(field.name.lower()) and field.key not in ("source", "type")
        if field.name not in used and repeats and named and sum(field.values.values()) == field.n_rows:
            reason = f"{len(field.values):,} values in {field.n_rows:,} rows: rows of one value must not be split up"
            return Choice("data.group", field.name, reason)
    return None


def slices_of(fields: Sequence[Field], used: frozenset[str], wanted: Sequence[str] = ()) -> Choice | None:
    """Fields with few values, each in several rows: what scores can be told apart by.

    wanted: names that are taken first, however rare their values are.
    """
    free = [field for field in fields if field.name not in used and field.values]
    asked = [field for name in wanted for field in free if field.key == _key(name)]
    found = [field for field in free if field not in asked and _is_low_cardinality(field)]
    found.sort(key=lambda field: _SLICES.index(field.key) if field.key in _SLICES else len(_SLICES))
    names = list[JsonValue](field.name for field in (*asked, *found)[:4])
    return (
        Choice("metrics.slices", names, "few values, many rows each: scores can differ between them") if names else None
    )


def has_any(fields: Sequence[Field], wanted: Sequence[str]) -> bool:
    """Whether a filled field has one of these names, case and punctuation aside."""
    keys = {_key(name) for name in wanted}
    return any(field.key in keys and field.values for field in fields)


def unique_id(fields: Sequence[Field], used: frozenset[str]) -> Choice | None:
    """Another field than `id` that names the rows, where there is no `id`."""
    if any(field.name == "id" for field in fields):
        return None
    for field in fields:
        if (
            field.name not in used
            and field.is_unique
            and re.search(r"(^|_|\b)(uu|gu|u)?id$|(^|_)key$", field.name.lower())
        ):
            return Choice("data.id", field.name, "a different value in every row")
    return None


def _field(name: str, rows: Sequence[Mapping[str, JsonValue]]) -> Field:
    held = [row[name] for row in rows if name in row]
    filled = [value for value in held if value is not None and str(value).strip()]
    scalars = [value for value in filled if isinstance(value, str | int) and not isinstance(value, bool)]
    texts = [len(value) for value in filled if isinstance(value, str)]
    return Field(
        name,
        len(rows),
        len(filled),
        Counter(map(str, scalars)),
        sum(texts) / len(texts) if texts else 0.0,
        bool(filled) and all(isinstance(value, list) for value in filled),
    )


def _is_low_cardinality(field: Field) -> bool:
    n_values, n = len(field.values), sum(field.values.values())
    return (
        1 < n_values <= _MAX_SLICE_VALUES
        and n >= 0.9 * field.n_rows
        and min(field.values.values()) >= _MIN_ROWS_A_VALUE
        and field.mean_length <= 40
    )


def _known_format(tables: Sequence[Table]) -> Roles | None:
    """Rows that are conversations or pairs by their own field names."""
    row: Mapping[str, JsonValue] = next((table.rows[0] for table in tables if table.rows), {})
    lists = {name for name, value in row.items() if isinstance(value, list)}
    for name, fields in (
        ("messages", {"messages"}),
        ("gemini", {"contents"}),
        ("sharegpt", {"conversations"}),
    ):
        if fields <= lists:
            return Roles((_format(name, fields),), frozenset({*fields, "system", "systemInstruction", "references"}))
    if {"prompt", "completion"} <= row.keys() or {"prompt", "references"} <= row.keys():
        used = {"prompt", "completion", "references"} & row.keys()
        return Roles((_format("prompt-completion", used),), frozenset(used))
    if {"instruction", "output"} <= row.keys():
        used = {"instruction", "input", "output", "history", "system"} & row.keys()
        return Roles((_format("alpaca", {"instruction", "output"}),), frozenset(used))
    return None


def _format(name: str, fields: set[str]) -> Choice:
    has = "field" if len(fields) == 1 else "fields"
    return Choice("data.format", name, f"the rows have the {has} {', '.join(sorted(fields))}")


def _columns(tables: Sequence[Table]) -> Roles:
    fields = fields_of(tables)
    pair = _languages(fields)
    if pair is not None:
        return _templates(pair[0].name, [pair[1].name], "named by its language", translates=True)
    references = _by_table(tables)
    if not references:
        return _the_only_two(fields)
    prompt, why = _prompt(fields, references)
    return _templates(prompt, references, why)


def _templates(prompt: str, references: Sequence[str], why: str, *, translates: bool = False) -> Roles:
    template = prompt if "{" in prompt else f"{{{prompt}}}"
    used = {name for hole in re.findall(r"\{([^{}]+)\}", template) for name in hole.split("|")}
    several = "; files that name it differently are read alike" if len(references) > 1 else ""
    by_language = "named by its language" if translates else "named like a right answer"
    return Roles(
        (
            Choice("data.prompt", template, why),
            Choice("data.reference", f"{{{'|'.join(references)}}}", by_language + several),
        ),
        frozenset({*used, *references, *(name.partition(".")[0] for name in references)}),
        translates,
    )


def _by_table(tables: Sequence[Table]) -> list[str]:
    """The names of the reference, one in each file, lists of several before single ones."""
    found: dict[str, Field] = {}
    for table in tables:
        fields = [field for field in fields_of([table]) if field.n_filled]
        field = _best(fields, _REFERENCES)
        if field is not None and len(fields) > 1:
            found.setdefault(_inner(field, table), field)
    return sorted(found, key=lambda name: not found[name].is_list)


def _inner(field: Field, table: Table) -> str:
    """The path to the texts of a field: SQuAD's answers are an object with a list "text"."""
    first = next((row[field.name] for row in table.rows if row.get(field.name) is not None), None)
    return f"{field.name}.text" if isinstance(first, dict) and "text" in first else field.name


def _prompt(fields: Sequence[Field], references: Sequence[str]) -> tuple[str, str]:
    rest = [field for field in fields if field.name not in references and field.n_filled >= 0.5 * field.n_rows]
    named = {field.key: field for field in rest if field.is_everywhere}
    for first, second in _TOGETHER:
        if first in named and second in named:
            text = f"{{{named[first].name}}}\n{{{named[second].name}}}"
            return text, f"{quote(named[first].name)} and {quote(named[second].name)} are read together"
    best = _best(rest, _PROMPTS)
    if best is not None:
        return best.name, "named like a question"
    texts = sorted((field for field in rest if not field.is_unique or field.mean_length > 20),
                   key=lambda field: -field.mean_length)  # fmt: skip
    if texts and texts[0].mean_length > 0:
        return texts[0].name, "the longest text of the row"
    raise _undecided(fields)


def _the_only_two(fields: Sequence[Field]) -> Roles:
    """No name tells: two fields are prompt and reference in their order, more are for a person to say."""
    told = [
        field for field in fields if field.n_filled and not re.fullmatch(r"(.*_)?(id|index|key)", field.name.lower())
    ]
    if len(told) != 2:
        raise _undecided(fields)
    return Roles(
        (
            Choice("data.prompt", f"{{{told[0].name}}}", "the first of the two fields"),
            Choice("data.reference", f"{{{told[1].name}}}", "the second of the two fields"),
        ),
        frozenset({told[0].name, told[1].name}),
    )


def _undecided(fields: Sequence[Field]) -> HarnessError:
    names = ", ".join(field.name for field in fields)
    return HarnessError(
        f"which field is the prompt and which the right answer? The rows have: {escape(names, 300) or 'no fields'}",
        fix='say so with data.prompt="{field}" data.reference="{field}" '
        '(harness new task: --prompt "{field}" --reference "{field}")',
        code="E-FIELD",
    )


def _languages(fields: Sequence[Field]) -> tuple[Field, Field] | None:
    """Two columns named by language codes."""
    coded = [field for field in fields if field.name.lower() in _CODES and field.mean_length > 3]
    return (coded[0], coded[1]) if len(coded) == 2 else None


def _best(fields: Sequence[Field], names: Sequence[str]) -> Field | None:
    ranked = [(rank, field) for field in fields if (rank := _rank(field, names)) is not None]
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _rank(field: Field, names: Sequence[str]) -> int | None:
    """Place in a list of names: by the whole name, else by its last word ("model_output"), which counts less."""
    if field.key in names:
        return names.index(field.key)
    last = re.split(r"[^a-z0-9]+", field.name.lower())[-1]
    return len(names) + names.index(last) if last in names else None


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
