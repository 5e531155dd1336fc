"""A bench in sentences: who leads, and what to mind before believing it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.core.bench import BenchResult, Contest, Lead
from harness.pipeline.words import probability, signed


def verdicts(result: BenchResult) -> Iterator[str]:
    """Who leads over all tasks (where there are several), then on each. A lead that may be chance is no lead."""
    if result.lead is not None and len(result.contests) > 1:
        some = any(standing.missing for standing in result.standings)
        where = "Over all tasks, among those with a score on each" if some else "Over all tasks"
        yield _verdict(result, result.lead, where, "mean rank")
    for contest in result.contests:
        if contest.lead is not None:
            yield _verdict(result, contest.lead, f"On {contest.task}", contest.metric)


def cautions(result: BenchResult) -> Iterator[str]:
    """What a reader must know before believing a rank; sentences without a full stop."""
    failed = [cell for cell in result.cells if not cell.finished]
    if failed:
        yield f"{len(failed)} of {len(result.cells)} runs failed and have no score"
    yield from _looked_at(result.contests)
    for each in result.contests:
        yield from _about(each)
    yield from _same_split(result.contests)
    for standing in result.standings:
        if standing.missing:
            name, missing = result.name(standing.competitor), ", ".join(standing.missing)
            yield f"{name} has no score on {missing}: its mean rank is over the other tasks only"


def _verdict(result: BenchResult, lead: Lead, where: str, unit: str) -> str:
    first, second = result.name(lead.first), result.name(lead.second)
    ends = "" if lead.low is None or lead.high is None else f" [{signed(lead.low)}, {signed(lead.high)}]"
    p = "" if lead.p_adjusted is None else f", p {probability(lead.p_adjusted)}"
    gap = "undefined" if lead.difference is None else f"{signed(lead.difference)}{ends}{p}"
    if lead.told_apart:
        return f"{where}, {first} is first, ahead of {second} by {gap} in {unit}."
    return f"{where}, first and second cannot be told apart: {first} and {second}, {gap} in {unit}."


def _looked_at(contests: Sequence[Contest]) -> Iterator[str]:
    """How often test splits were looked at, tasks with the same figures together."""
    alike: dict[tuple[int, int], list[str]] = {}
    for contest in contests:
        if len(contest.looks) > 1:
            alike.setdefault((len(contest.looks), contest.n_competitors), []).append(contest.task)
    for (n_looks, n_competitors), tasks in alike.items():
        each = "this one test split" if len(tasks) == 1 else "each of these test splits"
        yield (
            f"{', '.join(tasks)}: {n_looks} runs have compared on {each}, and {n_competitors} competitors are ranked "
            "on it here; the best of many looks better than it is, so confirm the first on test rows that nobody has "
            "looked at"
        )


def _about(contest: Contest) -> Iterator[str]:
    if contest.no_intervals:
        yield f"{contest.task}: ranks have no intervals, because {contest.no_intervals}"
    if any(entry.estimate.n != contest.n for entry in contest.entries):
        yield f"{contest.task}: ranked on the {contest.n} samples that all competitors have a score on"


def _same_split(contests: Sequence[Contest]) -> Iterator[str]:
    """Tasks are resampled as if they were independent, and here they are not."""
    by_split: dict[str, list[str]] = {}
    for contest in contests:
        by_split.setdefault(contest.test_sha256, []).append(contest.task)
    for tasks in by_split.values():
        if len(tasks) > 1:
            yield f"{' and '.join(tasks)} have one and the same test split: the mean rank says more than is known"
