"""Small judge cards and a final round of labels to render: with everything on them, and bare."""

from __future__ import annotations

from dataclasses import replace

from harness.core.licences import (
    Bin,
    Corrected,
    Figure,
    GateLine,
    JudgeCard,
    Licence,
    Probe,
    Transport,
    Validation,
)


def full_card(text: str) -> JudgeCard:
    """A judge with something in every place of its card."""
    figure = Figure(text, 0.5, 0.4, 0.6, 4, 2, text)
    undefined = Figure(f"other {text}", None, None, None, 4, 2, text)
    bare = bare_card(text)
    return replace(
        bare,
        licence=replace(bare.licence, grade="advisory"),
        n_labels=4,
        n_items=4,
        n_clusters=2,
        n_failures=1,
        failures={text: 1},
        annotators={text: 4},
        systems={text: 2, f"other {text}": 2},
        agreement=(figure, undefined),
        human=(figure,),
        controls={text: (figure,)},
        levels=("0", text),
        confusion=((1, 1), (0, 2)),
        reliability=(Bin(0.2, 0.25, 0.1, 0.5, 2), Bin(0.8, 0.75, 0.5, 0.9, 2)),
        transport=(Transport(text, f"other {text}", 0.02, -0.05, 0.09, (2, 2), "pass"),),
        probes=(
            Probe(text, text, 0.1, 0.0, 0.2, 4, text, "fail", (text,)),
            Probe(f"other {text}", text, None, None, None, 0, text, "not run"),
        ),
        maps=({"kind": text},),
        label_mass=0.9,
        labels_used=(text, f"other {text}"),
        simulated=True,
        identity={"prompt": text},
        notes=(text,),
        sd_difference=0.3,
    )


def bare_card(text: str) -> JudgeCard:
    """A judge that was never held against a label."""
    line = GateLine("G0", text, "not run", text, 100)
    licence = Licence(text, "uncalibrated", {"prompt": text}, (line,), (text,), 0.1)
    nothing: tuple[()] = ()
    return JudgeCard(
        judge=text,
        kind=text,
        criterion=text,
        label_kind="pass_fail",
        model=text,
        licence=licence,
        n_labels=0,
        n_items=0,
        n_clusters=0,
        n_repeats=0,
        n_failures=0,
        failures={},
        annotators={},
        systems={},
        agreement=nothing,
        human=nothing,
        controls={},
        levels=nothing,
        confusion=nothing,
        reliability=nothing,
        transport=nothing,
        probes=nothing,
        map_kind=text,
        maps=nothing,
        label_mass=None,
        labels_used=nothing,
        simulated=False,
    )


def validation(text: str) -> Validation:
    """What simulated annotators said of two candidates."""
    return Validation(
        criterion=text,
        candidate=text,
        baseline=f"other {text}",
        candidate_score=corrected(0.75, text),
        baseline_score=corrected(0.25, text),
        difference=corrected(0.5, text),
        wins=2,
        ties=1,
        losses=0,
        answer="better",
        sentence=text,
        annotators={text: 3},
        simulated=True,
    )


def corrected(value: float, text: str) -> Corrected:
    """What three labels and four verdicts make of a system, with something to mind."""
    return Corrected(
        name=text,
        value=value,
        low=value - 0.2,
        high=value + 0.2,
        p=None,
        n_labels=3,
        n_judged=4,
        n_clusters=3,
        lam=0.5,
        rho=None,
        effective_labels=None,
        method=text,
        target="test set",
        label_systems=(text,),
        warning=text,
    )
