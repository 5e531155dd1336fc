"""The gate: what a judge may decide, condition by condition, with the reason for people.

`drive` needs every condition. Agreement (G1) and controls (G2) are needed to be heard at all, and so is that no system
is known to be favoured (G3); where that is only not known yet, or a probe (G4) or the amount of labels (G0) leaves a
doubt, the judge may draw up a shortlist.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from harness.autorater.evidence import (
    ALPHA,
    MIN_A_SYSTEM,
    MIN_DIFFERENT,
    MIN_RHO,
    Apart,
    Evidence,
    Gain,
    apart,
    follows_people,
    gain_over,
    system_counts,
    within_systems,
)
from harness.autorater.probes import NOT_APPLICABLE
from harness.core.licences import Figure, GateLine, Grade, Licence, Passed, Probe, Transport
from harness.data.display import escape
from harness.stats import equivalence

MIN_LABELS = 100
MIN_CLUSTERS = 20
MIN_MASS = 0.5
MIN_OF_CEILING = 0.7
# Of fewer answers that several people labelled, their agreement with each other is not known well enough to divide by.
MIN_SHARED = 30
MOST_UNSCORED = 0.05
# The line of answers that are known to be bad.
CANARIES = "canaries"
# Beyond this a number of labels is no advice.
_MOST_MORE = 2_000

MAY: Mapping[Grade, str] = {
    "drive": "It may choose a checkpoint alone.",
    "shortlist": "It may keep the best three checkpoints; people or a metric choose among them.",
    "advisory": "It is shown and decides nothing; a metric or people choose.",
    "uncalibrated": "It is shown, without any claim, and decides nothing.",
}


def grade(
    judge: str,
    evidence: Evidence,
    *,
    transport: Sequence[Transport],
    probes: Sequence[Probe],
    delta: float,
    fingerprint: Mapping[str, str],
    n_resamples: int,
    rng: np.random.Generator,
) -> Licence:
    """The licence that the evidence earns. transport: what `evidence.transports` found in it."""
    lines = (
        *_health(evidence),
        *_agreement(evidence),
        *_beats_controls(evidence, n_resamples, rng),
        *_transport_lines(evidence, transport, delta),
        *_probe_lines(probes),
    )
    found = grade_of(lines)
    return Licence(judge, found, fingerprint, lines, reasons_for(found, lines), delta)


def uncalibrated(judge: str, why: str, *, delta: float, fingerprint: Mapping[str, str], n_items: int = 0) -> Licence:
    """The licence of a judge that no labels speak for."""
    more = MIN_LABELS - n_items if n_items < MIN_LABELS else None
    line = GateLine("G0", "labels", "fail", why, more)
    return Licence(judge, "uncalibrated", fingerprint, (line,), reasons_for("uncalibrated", (line,)), delta)


def grade_of(lines: Sequence[GateLine]) -> Grade:
    """The grade that conditions add up to."""
    if any(_decisive(line) for line in lines):
        return "advisory"
    return "drive" if all(line.passed == "pass" for line in lines) else "shortlist"


def reasons_for(found: Grade, lines: Sequence[GateLine]) -> tuple[str, ...]:
    """Sentences: what the judge may do, what stands in the way, and how many labels would lift it."""
    if found == "drive":
        return (MAY[found], "Every condition of the gate is met.")
    return (MAY[found], *(_sentence(line) for line in lines if line.passed != "pass"))


def obstacle(licence: Licence) -> str:
    """What most stands in the way of a judge, as the end of a sentence; empty where nothing does."""
    wanting = [line for line in licence.lines if line.passed != "pass"]
    # A judge that likes answers which are known to be bad has nothing else to be said for it.
    wanting.sort(key=lambda line: (line.name != CANARIES, not _decisive(line), line.passed != "fail"))
    return wanting[0].what if wanting else ""


def _health(evidence: Evidence) -> tuple[GateLine, ...]:
    n, n_clusters = evidence.n_answers, len(set(evidence.clusters))
    lines = [
        _enough("labels", n, MIN_LABELS, f"{n} different labelled answers have a verdict; {MIN_LABELS} are needed"),
        _enough(
            "prompts", n_clusters, MIN_CLUSTERS, f"the labels are of {n_clusters} prompts; {MIN_CLUSTERS} are needed"
        ),
        _systems_line(evidence),
        _unscored_line(n, evidence.n_unscored),
    ]
    if evidence.label_mass is not None:
        lines.append(_mass_line(evidence.label_mass))
    if evidence.ceiling is not None and evidence.ceiling.n < MIN_SHARED:
        n_shared = evidence.ceiling.n
        what = f"{n_shared} answers were labelled by more than one person; {MIN_SHARED} show how far people agree"
        lines.append(GateLine("G0", "shared answers", "inconclusive", what, MIN_SHARED - n_shared))
    return tuple(lines)


def _enough(name: str, n: int, needed: int, what: str) -> GateLine:
    return GateLine("G0", name, "pass", what) if n >= needed else GateLine("G0", name, "inconclusive", what, needed - n)


def _systems_line(evidence: Evidence) -> GateLine:
    """A text that two systems gave is an answer of both, and tells nothing about which of them the judge favours."""
    counts = system_counts(evidence.systems)
    shown = ", ".join(f"{escape(name)} {n}" for name, n in counts.items())
    of_each = "pairs whose answers differ" if evidence.of_pairs else "each that the other did not give"
    what = f"labels by system: {shown}; two systems need {MIN_A_SYSTEM} {of_each}"
    known = [(one, other, apart(evidence, one, other)) for one, other in combinations(counts, 2)]
    if not known:
        more = sum(max(MIN_A_SYSTEM - n, 0) for n in (*counts.values(), 0))
        return GateLine("G0", "systems", "inconclusive", what, more)
    one, other, nearest = min(known, key=lambda each: _lacking(each[2], of_pairs=evidence.of_pairs))
    lacking = _lacking(nearest, of_pairs=evidence.of_pairs)
    if not lacking:
        return GateLine("G0", "systems", "pass", what)
    have = str(nearest.different) if evidence.of_pairs else " and ".join(map(str, nearest.own))
    what = f"{what}; {escape(one)} and {escape(other)} have {have}"
    return GateLine("G0", "systems", "inconclusive", what, lacking)


def _lacking(between: Apart, *, of_pairs: bool) -> int:
    """Labels that two systems lack, of answers that only one of them gave; a label of a pair is one of both."""
    lacking = [max(MIN_A_SYSTEM - n, 0) for n in between.own]
    return max(lacking) if of_pairs else sum(lacking)


def _unscored_line(n: int, n_unscored: int) -> GateLine:
    if not n_unscored:
        return GateLine("G0", "verdicts", "pass", "every labelled item has a verdict")
    passed: Passed = "fail" if n_unscored > MOST_UNSCORED * (n + n_unscored) else "inconclusive"
    lacking = "1 labelled item has" if n_unscored == 1 else f"{n_unscored} labelled items have"
    return GateLine("G0", "verdicts", passed, f"{lacking} no verdict; none may lack one")


def _mass_line(mass: float) -> GateLine:
    passed: Passed = "pass" if mass >= MIN_MASS else "fail"
    tail = "" if passed == "pass" else "; below one half the model does not keep to the format"
    return GateLine("G0", "label mass", passed, f"the labels have {mass:.2g} of the probability (median){tail}")


def _agreement(evidence: Evidence) -> tuple[GateLine, ...]:
    lines = [_rho_line(evidence)]
    if evidence.calibrated_from_one and np.isfinite(evidence.raw).all():
        lines.append(_direction_line(evidence))
    known = evidence.ceiling is not None and evidence.ceiling.n >= MIN_SHARED
    if known and evidence.ceiling is not None and evidence.ceiling.value is not None:
        lines.append(_ceiling_line(evidence.ceiling, evidence.ceiling.value))
    return tuple(lines)


def _rho_line(evidence: Evidence) -> GateLine:
    name, found = "agreement", within_systems(evidence, evidence.judged)
    if found.fisher.df < 1 or math.isnan(found.value):
        who = "people's" if np.ptp(evidence.human) < 1e-12 else "the judge's"
        why = (
            "there are labels of one prompt only" if found.fisher.df < 1 else f"{who} scores do not vary within systems"
        )
        return GateLine("G1", name, "inconclusive" if who == "people's" else "fail", f"agreement is undefined: {why}")
    low, high = (float(end) for end in found.interval(1 - 2 * ALPHA))
    what = (
        f"within systems the correlation with people is {float(found.value):.2f}, at least {low:.2f} with 95 % "
        f"confidence; {MIN_RHO} is needed"
    )
    if follows_people(found):
        return GateLine("G1", name, "pass", what)
    needed = equivalence.enough_for(
        float(found.fisher.value), bound=math.atanh(MIN_RHO), se=float(found.fisher.se), n=evidence.n_answers
    )
    return GateLine("G1", name, "fail" if high < MIN_RHO else "inconclusive", what, _more(needed, evidence.n_answers))


def _direction_line(evidence: Evidence) -> GateLine:
    """Calibration never turns a judge round; where its scores run the other way, this says why it has nothing left."""
    found = within_systems(evidence, evidence.raw)
    _, high = found.interval(1 - 2 * ALPHA)
    if not float(high) < 0:
        return GateLine("G1", "direction", "pass", "its own scores do not run against people's")
    what = f"its own scores run against people's: their correlation within systems is {float(found.value):.2f}"
    return GateLine("G1", "direction", "fail", what)


def _ceiling_line(ratio: Figure, value: float) -> GateLine:
    what = f"its agreement with people is {value:.2f} of what they have with each other; {MIN_OF_CEILING} is needed"
    if value >= MIN_OF_CEILING:
        return GateLine("G1", "ceiling", "pass", what)
    undecided = ratio.high is not None and ratio.high >= MIN_OF_CEILING
    return GateLine("G1", "ceiling", "inconclusive" if undecided else "fail", what)


def _beats_controls(evidence: Evidence, n_resamples: int, rng: np.random.Generator) -> tuple[GateLine, ...]:
    if not evidence.controls:
        return (GateLine("G2", "controls", "not run", "it was compared with no control, not even the answers' length"),)
    return tuple(
        _control_line(name, gain_over(evidence, scores_M, n_resamples=n_resamples, rng=rng), evidence.n_answers)
        for name, scores_M in evidence.controls.items()
    )


def _control_line(name: str, gain: Gain | None, n: int) -> GateLine:
    shown = escape(name)
    if gain is None:
        what = f"whether it beats {shown} is undefined: people's scores do not vary where {shown} has any"
        return GateLine("G2", shown, "inconclusive", what)
    interval = f"{gain.value:+z.3f} [{gain.low:+z.3f}, {gain.high:+z.3f}]"
    what = f"of the variance of people's scores it explains {interval} more than {shown}"
    if gain.low > 0:
        return GateLine("G2", shown, "pass", what)
    needed = equivalence.enough_for(gain.value, bound=0.0, se=gain.se, n=n, level=0.975)
    passed: Passed = "inconclusive" if gain.value > 0 else "fail"
    return GateLine("G2", shown, passed, f"{what}; all of that interval must lie above zero", _more(needed, n))


def _transport_lines(evidence: Evidence, transport: Sequence[Transport], delta: float) -> tuple[GateLine, ...]:
    if not transport:
        what = "whether it favours a system cannot be told from labels of one; label answers of another system too"
        return (GateLine("G3", "transport", "inconclusive", what, MIN_A_SYSTEM),)
    compared = {name for record in transport for name in (record.system, record.other)}
    alone = [(name, n) for name, n in system_counts(evidence.systems).items() if name not in compared]
    told = [record for record in transport if record.passed != "not run"]
    return (
        *(_transport_line(record, delta, len(told), apart(evidence, record.system, record.other)) for record in told),
        *(() if told else (_all_alike(sorted(compared)),)),
        *(_too_few(name, n) for name, n in alone),
    )


def _all_alike(names: Sequence[str]) -> GateLine:
    shown = ", ".join(map(escape, names))
    what = (
        f"whether it favours a system cannot be told: {shown} give the same answers; label answers of another one too"
    )
    return GateLine("G3", "transport", "inconclusive", what, MIN_A_SYSTEM)


def _too_few(name: str, n: int) -> GateLine:
    shown = escape(name)
    what = f"whether it favours {shown} is not known: there are labels of one prompt only"
    return GateLine("G3", shown, "inconclusive", what, max(MIN_A_SYSTEM - n, 1))


def _transport_line(record: Transport, delta: float, n_pairs: int, between: Apart) -> GateLine:
    turned = record.difference < 0
    better, worse = (escape(name) for name in (record.system, record.other)[:: -1 if turned else 1])
    ends = (-record.high, -record.low) if turned else (record.low, record.high)
    interval = f"{abs(record.difference):+z.3f} [{ends[0]:+z.3f}, {ends[1]:+z.3f}]"
    inside = -delta < record.low and record.high < delta
    place = "within" if inside else "not within"
    among = f", and not surely so for all {n_pairs} pairs of systems at once" if inside else ""
    more = None
    if record.passed == "pass":
        what = f"it errs alike on {better} and {worse}: {interval} is within ±{delta:g}"
    elif record.passed == "fail":
        what = f"it favours {better} over {worse}: {interval} is beyond ±{delta:g}"
    elif between.different < MIN_DIFFERENT:
        what = (
            f"whether it favours {better} or {worse} is not known: {between.different} labelled answers tell them "
            f"apart; {MIN_DIFFERENT} are needed"
        )
        more = _more_different(between)
    else:
        what = f"whether it favours {better} over {worse} is not known: {interval} is {place} ±{delta:g}{among}"
        more = _transport_more(record, delta, n_pairs, between.n_labels)
    return GateLine("G3", f"{escape(record.system)} v {escape(record.other)}", record.passed, what, more)


def _transport_more(record: Transport, delta: float, n_pairs: int, n: int) -> int | None:
    # A 90 % interval reaches 1.645 standard errors to either side, or a little more where clusters are few.
    se = (record.high - record.low) / 2 / 1.645
    distance = abs(delta - abs(record.difference))
    return _more(equivalence.enough_for(distance, bound=0.0, se=se, n=n, level=1 - ALPHA / n_pairs), n)


def _more_different(between: Apart) -> int | None:
    """Labels that bring in enough different answers, if the two go on to differ as often as they did."""
    lacking, n = MIN_DIFFERENT - between.different, between.n_labels
    return _more(n + math.ceil(lacking * n / between.different), n) if between.different else lacking


def _probe_lines(probes: Sequence[Probe]) -> tuple[GateLine, ...]:
    if not probes:
        return (GateLine("G4", "probes", "not run", "no probe was run; `harness judge probe` runs them"),)
    return tuple(_probe_line(probe) for probe in probes if not not_applicable(probe))


def not_applicable(probe: Probe) -> bool:
    """Whether a probe says nothing about this kind of judge, so that the gate does not wait for it."""
    return probe.passed == "not run" and probe.limit.startswith(NOT_APPLICABLE)


def _probe_line(probe: Probe) -> GateLine:
    value = "" if probe.value is None else f", {probe.value:z.3f}"
    interval = "" if probe.low is None or probe.high is None else f" [{probe.low:z.3f}, {probe.high:z.3f}]"
    what = f"{probe.what}{value}{interval}; to pass: {probe.limit}"
    return GateLine("G4", probe.name, probe.passed, what)


def _decisive(line: GateLine) -> bool:
    """Whether this line alone keeps the judge from being heard."""
    if line.code in ("G1", "G2"):
        return line.passed != "pass"
    return line.passed == "fail" and (line.code == "G3" or (line.code, line.name) == ("G0", "verdicts"))


def _sentence(line: GateLine) -> str:
    n = line.more_labels
    more = "" if n is None else f"; about {n} more {'label is' if n == 1 else 'labels are'} likely to settle it"
    return f"{line.code}: {line.what}{more}."


def _more(needed: int | None, n: int) -> int | None:
    """More labels than there are; None where so many are no advice."""
    return None if needed is None or needed - n > _MOST_MORE else max(needed - n, 1)
