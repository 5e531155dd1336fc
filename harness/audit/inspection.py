"""All checks over one dataset: everything worth knowing before anything is spent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from harness.audit import labels, leaks, sizes, texts
from harness.audit.facts import Facts, folded_questions
from harness.audit.lengths import masked_rows, token_lengths, too_long, unreachable_references
from harness.core.records import AuditRecord, Finding
from harness.core.specs import TaskSpec
from harness.core.types import SPLITS
from harness.data import Dataset
from harness.data.problems import by_severity

CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    sizes.missing_splits,
    sizes.small_splits,
    sizes.small_pool,
    masked_rows,
    too_long,
    unreachable_references,
    texts.special_tokens,
    leaks.leaks,
    leaks.near_duplicates,
    leaks.repeats,
    labels.one_class,
    labels.unseen_classes,
    labels.conflicts,
    texts.invisible_characters,
    texts.outliers,
    texts.same_prompt,
)

# Fatal findings that leaving the rows out would settle.
_OF_ROWS = frozenset({"E-SPECIAL-IN-TEXT", "E-TOOLONG", "E-MASK"})


def audit(
    dataset: Dataset,
    task: TaskSpec,
    *,
    lengths: Mapping[str, tuple[int, int]],
    context_length: int,
    special_texts: Sequence[str],
    row_problems: Mapping[str, str],
    selection_rule: str,
    bounded: bool = True,
    in_bytes: bool = False,
) -> AuditRecord:
    """Everything found while reading, and then by every check. Fatal findings block a run; nothing is raised here.

    lengths: sample id -> (prompt tokens zero-shot, reference tokens with the end token); rows that could not be
    rendered are left out and stand in `row_problems` (sample id -> sentence).
    special_texts: how the tokenizer spells its control tokens. selection_rule: `select.rule`.
    bounded: whether the primary metric runs from 0 to 1; of others no detectable difference is known beforehand.
    in_bytes: whether lengths are of bytes, for want of the model's tokenizer.
    """
    facts = Facts(
        dataset=dataset,
        task=task,
        lengths=lengths,
        context_length=context_length,
        special_texts=special_texts,
        row_problems=row_problems,
        selection_rule=selection_rule,
        bounded=bounded,
        in_bytes=in_bytes,
        splits={split: dataset.split(split) for split in SPLITS},
        folded=folded_questions(dataset.samples),
    )
    found = [finding for check in CHECKS for finding in check(facts)]
    effect, assumption = sizes.detectable_effect(facts)
    return AuditRecord(
        findings=(*dataset.findings, *by_severity(found)),
        leaked_test_ids=tuple(sample.id for sample in leaks.leaked(facts, "test")),
        token_lengths=token_lengths(facts),
        minimum_detectable_effect=effect,
        mde_assumption=assumption,
    )


def droppable(record: AuditRecord) -> dict[str, str]:
    """Sample id -> code, for `Dataset.without`: the rows whose fatal findings end when they are left out."""
    pairs = [(finding.code, finding.ids) for finding in record.fatal if finding.code in _OF_ROWS]
    return {id_: code for code, ids in reversed(pairs) for id_ in ids}
