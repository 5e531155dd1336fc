"""What kind of task the samples are, and which metric belongs to it, each with the reason."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from harness.scaffold.proposal import Kind
from harness.scaffold.texts import Texts

# The audit's own bounds for "the references are classes".
_MAX_CLASSES = 200
_MAX_DISTINCT = 0.2
# Up to this many different numbers may be grades or stars; more are quantities.
_MAX_NUMBERS = 10


@dataclass(frozen=True, slots=True)
class Metrics:
    """A primary metric with its reason, and what is reported beside it."""

    primary: str
    reason: str
    report: tuple[str, ...] = ()


def kind_of(texts: Texts, *, translates: bool, reference: str) -> tuple[Kind, str]:
    """The kind of task, and the sentence that says why.

    translates: the fields are named by languages. reference: the template of the reference, whose name tells a
    measured number from the solution of a sum.
    """
    if translates or (_scripts_differ(texts) and texts.reference_words > 1 and texts.is_json < 0.5):
        why = f"prompts are in {texts.prompt_script.title()} script, references in {texts.reference_script.title()}"
        return "translation", "the fields are named by languages" if translates else why
    if texts.is_json > 0.95:
        return "extraction", "the references are JSON objects"
    if texts.is_number > 0.95 and not _are_classes(texts) and not _is_solution(texts, reference):
        return "regression", f"the references are numbers, {len(texts.labels):,} different ones"
    if _are_classes(texts):
        return "classification", f"{len(texts.labels)} different references in {texts.n:,} rows, each short"
    if texts.is_code > 0.5:
        return "code", f"{100 * texts.is_code:.0f} % of the references look like program code"
    return _by_length(texts)


def metrics_for(kind: Kind, texts: Texts, installed: Collection[str]) -> Metrics:
    """What to measure a kind of task with; only metrics that are installed are reported beside the primary one."""
    chosen = _METRICS[kind](texts)
    report = tuple(name for name in chosen.report if name in installed and name != chosen.primary)
    return Metrics(chosen.primary, chosen.reason, report)


def misfit(metric: str, texts: Texts) -> str | None:
    """Why a metric cannot be perfect on these references; None where nothing speaks against it."""
    if metric in ("json_valid", "json_schema", "field_f1") and texts.is_json <= 0.95:
        return f"{metric} needs references that are JSON objects, and these are not"
    if metric in ("mse", "rmse", "mae", "r2", "pearson") and texts.is_number <= 0.95:
        return f"{metric} needs references that are numbers, and these are not"
    if metric in ("accuracy", "macro_f1", "micro_f1", "weighted_f1") and not _are_classes(texts):
        return f"{metric} needs references that are classes, and nearly every one of these is different"
    return None


def _by_length(texts: Texts) -> tuple[Kind, str]:
    prompt, reference = texts.prompt_words, texts.reference_words
    words = f"prompts have {prompt:.0f} words on average, references {reference:.0f}"
    if texts.turns > 1.5:
        return "chat", f"{texts.turns:.1f} user turns a row on average"
    if texts.long_reference_words <= 8:
        return "short answer", f"nine of ten references have at most {texts.long_reference_words:.0f} words"
    if prompt >= 50 and reference < 0.5 * prompt:
        return "summarisation", words
    if texts.overlap >= 0.6 and 0.5 * prompt <= reference <= 1.5 * prompt and texts.references_a_sample < 1.5:
        return "rewriting", f"{words}, and {100 * texts.overlap:.0f} % of a reference's words stand in its prompt"
    if texts.references_a_sample >= 1.5 and prompt < 60:
        return "data to text", f"{texts.references_a_sample:.1f} references a row where there are several; {words}"
    return "generation", words


def _are_classes(texts: Texts) -> bool:
    n_distinct = len(texts.labels)
    if texts.is_number > 0.95 and n_distinct > _MAX_NUMBERS:
        return False
    return (
        1 < n_distinct <= min(_MAX_CLASSES, max(2, _MAX_DISTINCT * texts.n))
        and texts.reference_words <= 6
        and texts.references_a_sample < 1.05
    )


def _is_solution(texts: Texts, reference: str) -> bool:
    """Whole numbers in a field called answer are solutions: near is as wrong as far."""
    return not texts.has_decimals and any(word in reference.lower() for word in ("answer", "solution", "result"))


def _scripts_differ(texts: Texts) -> bool:
    return bool(texts.prompt_script and texts.reference_script) and texts.prompt_script != texts.reference_script


def _of_classes(texts: Texts) -> Metrics:
    return Metrics(
        "macro_f1", "every class counts alike, so that rare ones are not drowned by frequent ones", ("accuracy",)
    )


def _of_objects(texts: Texts) -> Metrics:
    why = "counts right, missing and invented fields of each object, whatever their order"
    return Metrics("field_f1", why, ("json_valid", "exact_match"))


def _of_numbers(texts: Texts) -> Metrics:
    return Metrics("mae", "a near miss is better than a far one, in the unit of the references", ("rmse", "pearson"))


def _of_short_answers(texts: Texts) -> Metrics:
    if texts.is_number > 0.95:
        return Metrics("exact_match", "a number is right or wrong")
    if texts.is_unspaced:
        return Metrics("exact_match", "short answers, written without blanks between words", ("chrf",))
    return Metrics("squad_f1", "short answers: credit for the words they share, articles and case aside", ("squad_em",))


def _of_summaries(texts: Texts) -> Metrics:
    if texts.is_unspaced:
        return _by_characters(texts)
    why = "the longest common sequence of words with the reference: the usual measure of summaries"
    return Metrics("rouge_l", why, ("rouge_1", "rouge_2"))


def _of_rewritings(texts: Texts) -> Metrics:
    return Metrics("chrf", "changes within words count too: sequences of characters", ("rouge_l", "edit_distance"))


def _of_translations(texts: Texts) -> Metrics:
    return Metrics("chrf", "works alike in every script and for inflected words", ("bleu", "ter"))


def _of_data_to_text(texts: Texts) -> Metrics:
    if texts.is_unspaced:
        return _by_characters(texts)
    return Metrics("bleu", "several right wordings: BLEU matches against all references at once", ("chrf", "rouge_l"))


def _of_code(texts: Texts) -> Metrics:
    why = "sequences of characters: names and punctuation count, a missing bracket does not void the rest"
    return Metrics("chrf", why, ("exact_match", "edit_distance"))


def _of_free_text(texts: Texts) -> Metrics:
    if texts.is_unspaced:
        return _by_characters(texts)
    why = "word overlap is a weak measure of free text, and the best there is without people or a judge"
    return Metrics("rouge_l", why, ("chrf", "length_ratio"))


def _by_characters(texts: Texts) -> Metrics:
    return Metrics("chrf", "characters instead of words: the references have no blanks between words", ("rouge_l",))


_METRICS: dict[Kind, Callable[[Texts], Metrics]] = {
    "classification": _of_classes,
    "extraction": _of_objects,
    "regression": _of_numbers,
    "short answer": _of_short_answers,
    "summarisation": _of_summaries,
    "rewriting": _of_rewritings,
    "translation": _of_translations,
    "data to text": _of_data_to_text,
    "code": _of_code,
    "chat": _of_free_text,
    "generation": _of_free_text,
}
