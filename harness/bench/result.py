"""The runs of a grid put together: cells, contests, standings, and what to mind before believing them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.bench.contest import Contender, Resampling, apart, contest, same_everywhere
from harness.bench.grid import Grid, Planned
from harness.bench.scores import Finished, measure_of, open_run
from harness.bench.standings import Ranks, first_shares, mean_ranks, percentile_interval
from harness.bench.words import cautions, verdicts
from harness.core.bench import BenchResult, Cell, Competitor, Contest, Lead, Standing
from harness.core.errors import EnvironmentFault
from harness.core.records import Estimate, RunResult
from harness.core.types import checkpoint_name
from harness.store.looks import looks_at_test
from harness.store.run import FinishedRun


@dataclass(frozen=True, slots=True)
class Ended:
    """How one run of the grid ended. reason: one line, empty where it finished."""

    planned: Planned
    exit_code: int
    reason: str = ""


def assemble(grid: Grid, ended: Sequence[Ended]) -> BenchResult:
    """Everything a bench concludes from its runs' folders; the same folders give the same result."""
    runs = {each.planned.run_id: _opened(each) for each in ended}
    finished = {run_id: run for run_id, run in runs.items() if isinstance(run, Finished)}
    looks = {run_id: looks_at_test(run.run.folder) for run_id, run in finished.items()}
    competitors = _competitors(grid, finished)
    spec = grid.cells[0].settings.spec
    resampling = Resampling(spec.seed, spec.n_resamples)
    found = list(_contests(grid, finished, competitors, looks, resampling))
    held = [each for each in found if not isinstance(each, str)]
    unranked = [each for each in found if isinstance(each, str)]
    contests = tuple(each for each, _ in held)
    tasks = tuple(dict.fromkeys(cell.task for cell in grid.cells))
    standings, lead = _standings(contests, [ranks for _, ranks in held], competitors, tasks)
    result = BenchResult(
        bench_id=grid.bench_id,
        tasks=tasks,
        models=tuple(dict.fromkeys(cell.model for cell in grid.cells)),
        trainers=tuple(dict.fromkeys(cell.trainer for cell in grid.cells)),
        competitors=competitors,
        cells=tuple(_cell(each, runs[each.planned.run_id], looks.get(each.planned.run_id, ())) for each in ended),
        contests=contests,
        standings=standings,
        lead=lead,
        verdicts=(),
        cautions=(),
        n_resamples=spec.n_resamples,
    )
    told = (*unranked, *_judged_by(finished.values()), *cautions(result))
    return replace(result, verdicts=tuple(verdicts(result)), cautions=told)


def _judged_by(finished: Iterable[Finished]) -> Iterator[str]:
    """Which judges decided, and whose labels they were licensed by."""
    judges = {(run.result.task, run.result.primary): run.judge for run in finished}
    for (task, primary), card in judges.items():
        if card is not None:
            who = "simulated annotators" if card.simulated else "people"
            yield f"{task}: {primary} decides, licensed by {card.n_labels} labels of {who}; nobody validated its ranks"


def _opened(ended: Ended) -> Finished | str:
    """The finished run, or why there is none."""
    if ended.reason:
        return ended.reason
    try:
        return open_run(FinishedRun(ended.planned.folder))
    except EnvironmentFault as error:
        return error.what


def _cell(ended: Ended, run: Finished | str, looks: tuple[str, ...]) -> Cell:
    planned = ended.planned
    failed = run if isinstance(run, str) else ""
    cell = Cell(
        task=planned.task,
        model=planned.model,
        trainer=planned.trainer,
        run_id=planned.run_id,
        exit_code=ended.exit_code or (EnvironmentFault.exit_code if failed else 0),
        reason=failed,
    )
    return cell if isinstance(run, str) else _figures(cell, run.result, len(looks))


def _figures(cell: Cell, result: RunResult, n_looks: int) -> Cell:
    arms = arms_of(result)
    estimates = {role: _estimate(result, arm) for role, arm in arms.items()}
    last = result.comparisons[-1] if result.comparisons else None
    return replace(
        cell,
        metric=result.primary,
        n=next((record.n for record in result.evaluations if record.split == "test"), None),
        zero_shot=estimates.get("zero-shot"),
        best_untuned=estimates.get("best untuned"),
        best_untuned_arm=arms.get("best untuned"),
        tuned=estimates.get("tuned"),
        tuned_arm=arms.get("tuned"),
        delta=last.delta if last else None,
        low=last.low if last else None,
        high=last.high if last else None,
        answer=last.answer if last else None,
        looks=n_looks,
    )


def arms_of(result: RunResult) -> Mapping[str, str]:
    """Role -> the arm that has it on test; a role that nothing has is absent."""
    tested = [record for record in result.evaluations if record.split == "test"]
    plain = [r.arm for r in tested if r.step is None and r.shots == 0 and r.instruction is None]
    step = result.selection.chosen_step
    found = {
        "zero-shot": plain[0] if plain else None,
        "best untuned": result.selection.best_untuned,
        "tuned": None if step is None else checkpoint_name(step),
    }
    names = {record.arm for record in tested}
    return {role: arm for role, arm in found.items() if arm is not None and arm in names}


def _estimate(result: RunResult, arm: str) -> Estimate:
    return result.evaluation(arm, "test").estimate(result.primary)


def _competitors(grid: Grid, finished: Mapping[str, Finished]) -> tuple[Competitor, ...]:
    """Model by model: untuned zero-shot, best untuned, then tuned: by each trainer, or by each task's own."""
    found: list[Competitor] = []
    for model in dict.fromkeys(cell.model for cell in grid.cells):
        found += [Competitor(model, "zero-shot"), Competitor(model, "best untuned")]
        trainers = dict.fromkeys(
            cell.trainer if grid.by_trainer else None
            for cell in grid.cells
            if cell.model == model and (cell.run_id not in finished or "tuned" in arms_of(finished[cell.run_id].result))
        )
        found += [Competitor(model, "tuned", trainer) for trainer in trainers]
    return tuple(found)


def _contests(
    grid: Grid,
    finished: Mapping[str, Finished],
    competitors: Sequence[Competitor],
    looks: Mapping[str, tuple[str, ...]],
    resampling: Resampling,
) -> Iterator[tuple[Contest, Ranks] | str]:
    """The contest of each task, or why there is none."""
    for task in dict.fromkeys(cell.task for cell in grid.cells):
        cells = [cell for cell in grid.cells if cell.task == task and cell.run_id in finished]
        contenders = list(_contenders(cells, finished, competitors))
        if not contenders:
            continue
        if why := apart(contenders):
            yield f"{task}: {why}"
            continue
        held = contest(
            contenders,
            measure_of(cells[0].settings, contenders[0].finished.result.primary),
            looks=looks[cells[0].run_id],
            resampling=resampling,
            n_competitors=len(competitors),
        )
        if held is not None:
            yield held


def _contenders(
    cells: Sequence[Planned], finished: Mapping[str, Finished], competitors: Sequence[Competitor]
) -> Iterator[Contender]:
    """Who takes part in one task. The untuned ones are the same in each run of a model: the first has them."""
    for place, competitor in enumerate(competitors):
        runs = [cell for cell in cells if cell.model == competitor.model]
        if competitor.trainer is not None:
            runs = [cell for cell in runs if cell.trainer == competitor.trainer]
        for cell in runs[:1]:
            run = finished[cell.run_id]
            arm = arms_of(run.result).get(competitor.role)
            if arm is not None:
                yield Contender(place, run, arm, _estimate(run.result, arm))


def _standings(
    contests: Sequence[Contest], ranks: Sequence[Ranks], competitors: Sequence[Competitor], tasks: Sequence[str]
) -> tuple[tuple[Standing, ...], Lead | None]:
    if not contests:
        return (), None
    means = mean_ranks(ranks)
    missing = {
        place: tuple(task for task in tasks if not any(c.task == task and c.entry(place) for c in contests))
        for place in range(len(competitors))
    }
    ranked = [place for place in missing if np.isfinite(means.ranks_C[place])]
    complete = [place for place in ranked if not missing[place]]
    shares = _shares(means, complete)
    order = sorted(ranked, key=lambda place: (bool(missing[place]), means.ranks_C[place], place))
    standings = tuple(_standing(place, means, missing[place], shares.get(place)) for place in order)
    return standings, _lead([place for place in order if place in complete], means, contests)


def _shares(means: Ranks, complete: Sequence[int]) -> Mapping[int, float]:
    """How often each complete competitor has the best mean rank; nothing where there are no resamples."""
    if means.ranks_RC is None or not complete or not np.isfinite(means.ranks_RC[:, list(complete)]).all():
        return {}
    shares = first_shares(means.ranks_RC[:, list(complete)])
    return {place: float(share) for place, share in zip(complete, shares, strict=True)}


def _standing(place: int, means: Ranks, missing: tuple[str, ...], first: float | None) -> Standing:
    interval = None if means.ranks_RC is None else percentile_interval(means.ranks_RC[:, place])
    low, high = interval or (None, None)
    return Standing(place, float(means.ranks_C[place]), low, high, first, missing)


def _lead(order: Sequence[int], means: Ranks, contests: Sequence[Contest]) -> Lead | None:
    """First against second by mean rank, among those with all tasks; None where there is nobody to compare with."""
    others = [place for place in order[1:] if not same_everywhere(contests, order[0], place)]
    if not others:
        return None
    first, second = order[0], others[0]
    interval = None
    if means.ranks_RC is not None:
        interval = percentile_interval(means.ranks_RC[:, second] - means.ranks_RC[:, first])
    low, high = interval or (None, None)
    return Lead(
        first=first,
        second=second,
        difference=float(means.ranks_C[second] - means.ranks_C[first]),
        low=low,
        high=high,
        p_adjusted=None,
        n_tests=len(others),
        told_apart=low is not None and low > 0,
    )


def bench_folder(grid: Grid) -> Path:
    """Where the bench's own files go."""
    return grid.out / grid.bench_id
