"""What was found over all rounds: as tables to print, and as lines to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.ladder.climbing import HARNESS, Climb
from benchmarks.ladder.material import Material
from benchmarks.ladder.sameness import same_prompts
from benchmarks.measuring import faster_by, median_of, table


def times(climbs: Mapping[str, Sequence[Climb]]) -> str:
    """Medians, and the ratios to the harness within a round."""
    ours = [climb.measured for climb in climbs[HARNESS]]
    rows = []
    for name, climbed in climbs.items():
        own = [climb.measured for climb in climbed]
        middle = median_of(own)
        ratios = [f"{faster_by(ours, own, clock):.2f}" for clock in ("wall_s", "cpu_s")]
        rows.append([name, f"{middle.wall_s:.1f}", f"{middle.cpu_s:.1f}", f"{middle.peak_mib or 0:.0f}", *ratios])
    return table(["", "wall s", "CPU s", "peak MiB", "harness faster by", "by CPU time"], rows)


def scores(material: Material, climbs: Mapping[str, Sequence[Climb]]) -> str:
    """exact_match on validation by arm, medians, and whether the prompts were the harness's."""
    rows = []
    for name, climbed in climbs.items():
        values = [f"{median(climb.scores[arm] for climb in climbed):.3f}" for arm in material.arms]
        asked = "" if name == HARNESS else "yes" if all(same_prompts(material, climb) for climb in climbed) else "no"
        rows.append([name, *values, asked])
    return table(["exact_match", *material.arms, "same prompts"], rows)


def lines(material: Material, climbs: Mapping[str, Sequence[Climb]]) -> list[dict[str, object]]:
    """Every contestant's medians, ratios and rounds."""
    ours = [climb.measured for climb in climbs[HARNESS]]
    return [
        {
            "name": name,
            "median": median_of([climb.measured for climb in climbed]),
            "harness_faster_by": faster_by(ours, [climb.measured for climb in climbed]),
            "harness_faster_by_cpu": faster_by(ours, [climb.measured for climb in climbed], "cpu_s"),
            "same_prompts": name == HARNESS or all(same_prompts(material, climb) for climb in climbed),
            "rounds": [{"measured": c.measured, "parts": c.parts, "exact_match": c.scores} for c in climbed],
        }
        for name, climbed in climbs.items()
    ]
