"""Labels as Label Studio's tasks, and its export as labels.

Its format as its documentation has it (guide/task_format): a list of tasks, each with `data` and `annotations`, whose
`result` names a control of the labelling configuration. A control of our own carries the annotator's name, because
a project there need not have the same people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape as markup

from pydantic import JsonValue

from harness.autorater.label_rows import row_of
from harness.core.errors import HarnessError
from harness.core.judging import Label, LabelKind, text_hash

CONTROL = "verdict"
ANNOTATOR = "annotator"
ITEM = "item"
_OF_ANNOTATION = ("id", "value", "annotator", "time", "answers")
_OF_TASK = (
    *("kind", "criterion", "question", "systems", "round", "scale", "sample", "split", "references", "shown"),
    *("probability", "stratum", "guideline"),
)
_CHOICES: Mapping[str, Mapping[int | str, str]] = {
    "pass_fail": {1: "pass", 0: "fail"},
    "pair": {"first": "A", "second": "B", "tie": "tie"},
}
_VALUES: Mapping[str, JsonValue] = {
    **dict.fromkeys(("pass", "yes"), 1),
    **dict.fromkeys(("fail", "no"), 0),
    **dict.fromkeys(("a", "left", "first"), "first"),
    **dict.fromkeys(("b", "right", "second"), "second"),
    "tie": "tie",
}


def tasks(labels: Sequence[Label]) -> list[JsonValue]:
    """One task for each thing that was judged, with an annotation for each label of it."""
    grouped: dict[str, tuple[dict[str, JsonValue], list[JsonValue]]] = {}
    for label in labels:
        data = _data(label)
        key = text_hash(*(f"{name}={value!r}" for name, value in data.items()))
        grouped.setdefault(key, (data, []))[1].append(_annotation(label))
    return [{"data": data, "annotations": annotations} for data, annotations in grouped.values()]


def configuration(kind: LabelKind, criterion: str, scale: int) -> str:
    """The labelling configuration that shows these tasks: paste it into a project's settings."""
    names = ("answer", "answer_2") if kind == "pair" else ("answer",)
    shown = [f'  <Header value="{head}"/>\n  <Text name="{name}" value="${name}"/>' for name, head in _headed(names)]
    return "\n".join(
        [
            "<View>",
            '  <Header value="Question"/>\n  <Text name="question" value="$question"/>',
            *shown,
            f'  <Header value="{markup(criterion)}"/>',
            _control(kind, scale),
            f'  <TextArea name="{ANNOTATOR}" toName="answer" placeholder="your name" maxSubmissions="1"/>',
            "</View>\n",
        ]
    )


def rows(value: JsonValue) -> Iterator[tuple[int, dict[str, JsonValue] | HarnessError]]:
    """(number of the task, row of a label or what is wrong with it) for every annotation that was not cancelled."""
    if not isinstance(value, list):
        raise HarnessError(
            "a Label Studio export is a list of tasks", fix="export as JSON, not JSON-MIN", code="E-LABELS"
        )
    for number, task in enumerate(value, 1):
        data = task.get("data") if isinstance(task, dict) else None
        if not isinstance(task, dict) or not isinstance(data, dict):
            yield number, _wrong("no data: it is not a task of Label Studio")
            continue
        annotations = task.get("annotations", [])
        for annotation in annotations if isinstance(annotations, list) else []:
            if isinstance(annotation, dict) and not annotation.get("was_cancelled"):
                yield number, _row(data, annotation)


def _data(label: Label) -> dict[str, JsonValue]:
    row = row_of(label)
    texts: dict[str, JsonValue] = {"answer": label.answers[0]}
    if label.kind == "pair":
        texts["answer_2"] = label.answers[1]
    return {**{name: row[name] for name in row if name not in _OF_ANNOTATION}, **texts}


def _annotation(label: Label) -> JsonValue:
    kind = "rating" if label.kind == "likert" else "choices"
    value: JsonValue = {"rating": label.value} if kind == "rating" else {"choices": [_CHOICES[label.kind][label.value]]}
    verdict: JsonValue = {
        "id": text_hash(label.id)[:10],
        "from_name": CONTROL,
        "to_name": "answer",
        "type": kind,
        "value": value,
        "meta": {"text": [label.id]},
    }
    name: JsonValue = {
        "id": text_hash(label.id, "name")[:10],
        "from_name": ANNOTATOR,
        "to_name": "answer",
        "type": "textarea",
        "value": {"text": [label.annotator]},
    }
    created: dict[str, JsonValue] = {"created_at": label.time} if label.time else {}
    return {"result": [verdict, name], "was_cancelled": False, **created}


def _headed(names: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(names, ("Answer A", "Answer B") if len(names) == 2 else ("Answer",), strict=True))


def _control(kind: LabelKind, scale: int) -> str:
    if kind == "likert":
        return f'  <Rating name="{CONTROL}" toName="answer" maxRating="{scale}" required="true"/>'
    choices = "".join(f'<Choice value="{name}"/>' for name in sorted(_CHOICES[kind].values(), key=str.lower))
    return f'  <Choices name="{CONTROL}" toName="answer" choice="single" required="true">{choices}</Choices>'


def _row(data: Mapping[str, JsonValue], annotation: Mapping[str, JsonValue]) -> dict[str, JsonValue] | HarnessError:
    results = annotation.get("result")
    found = [each for each in results if isinstance(each, dict)] if isinstance(results, list) else []
    verdict = next((each for each in found if each.get("type") in ("rating", "choices", "pairwise")), None)
    if verdict is None:
        return _wrong("an annotation without a rating, choice or pairwise selection")
    two = "answer_2" in data
    value = _value(verdict)
    kind = "likert" if verdict.get("type") == "rating" else "pair" if two else "pass_fail"
    row: dict[str, JsonValue] = {"kind": kind, "criterion": str(verdict.get("from_name", CONTROL))}
    row |= {name: data[name] for name in _OF_TASK if name in data}
    row["answers"] = [data.get("answer"), *([data["answer_2"]] if two else [])]
    row |= {"value": value, "annotator": _annotator(found, annotation), **_id(data, verdict, annotation)}
    created = annotation.get("created_at")
    return {**row, "time": created} if isinstance(created, str) else row


def _value(verdict: Mapping[str, JsonValue]) -> JsonValue:
    value = verdict.get("value")
    if not isinstance(value, dict):
        return None
    chosen = value.get("rating", value.get("selected", value.get("choices")))
    chosen = chosen[0] if isinstance(chosen, list) and len(chosen) == 1 else chosen
    if isinstance(chosen, str):
        return int(chosen) if chosen.isascii() and chosen.isdigit() else _VALUES.get(chosen.strip().lower(), chosen)
    return chosen


def _annotator(found: Sequence[Mapping[str, JsonValue]], annotation: Mapping[str, JsonValue]) -> JsonValue:
    """The name in our own control; else who Label Studio says it was, by e-mail address or number."""
    named = next((each.get("value") for each in found if each.get("from_name") == ANNOTATOR), None)
    texts = named.get("text") if isinstance(named, dict) else None
    if isinstance(texts, list) and texts:
        return texts[0]
    user = annotation.get("completed_by")
    if isinstance(user, dict):
        user = user.get("email") or user.get("id")
    return "" if user is None else str(user)


def _id(
    data: Mapping[str, JsonValue], verdict: Mapping[str, JsonValue], annotation: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Our own id, if the label was ours; else made of the annotation's number, after the item's of a blinded sheet."""
    meta = verdict.get("meta")
    texts = meta.get("text") if isinstance(meta, dict) else None
    if isinstance(texts, list) and texts:
        return {"id": texts[0]}
    if "id" not in annotation:
        return {}
    name = f"label-studio-{annotation['id']}"
    return {"id": f"{data[ITEM]}.{name}" if ITEM in data else name}


def _wrong(what: str) -> HarnessError:
    return HarnessError(what, fix="export the project again, as JSON", code="E-LABELS")
