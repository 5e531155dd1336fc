"""Every file and folder name of a run, once."""

from __future__ import annotations

SPEC = "spec.json"
ENVIRONMENT = "environment.json"
DATA = "data.json"
TEST_ROWS = "test-rows.json"
AUDIT = "audit.json"
SELECTION = "selection.json"
COMPARISONS = "comparisons.json"
SLICES = "slices.json"
RESULT = "result.json"
SAMPLES = "samples.jsonl"
TRAINING = "training.json"
EVENTS = "events.jsonl"
LOG = "run.log"
LOCK = "run.lock"

EVALUATIONS = "evaluations"
OUTCOMES = "outcomes.jsonl"
PROOF = "adapter.json"
OUTCOMES_JOURNAL = "outcomes.journal"
STATISTICS = "statistics.npy"
ESTIMATES = "estimates.json"

CHECKPOINTS = "checkpoints"
TRAINING_STATE = "training-state"
MANIFEST = "MANIFEST.json"

REPORT = "report.html"
REPORTS = "reports.json"

CORRECTED = "corrected.json"
JUDGES = "judges"
JUDGE_CARD = "card.json"
HELD_OUT = "held-out.json"
LABEL_SCORES = "label-scores.jsonl"
LABELS = "labels.jsonl"
VALIDATION = "validation.json"

# In the id of a run that scored another one's completions again.
RESCORED = "-rescored-"
# And of one that chose again among its checkpoints.
SELECTED = "-selected-"

# What may differ between a resumed and an uninterrupted run: times, hosts, progress.
IMPURE = frozenset({EVENTS, LOG, LOCK, ENVIRONMENT, REPORTS, LABELS, VALIDATION})


def evaluation(candidate: str, split: str) -> str:
    """Folder of one candidate's evaluation on one split."""
    return f"{EVALUATIONS}/{candidate}.{split}"


def judge_card(judge: str) -> str:
    """File of what was found out about a judge."""
    return f"{JUDGES}/{judge}/{JUDGE_CARD}"


def label_scores(judge: str) -> str:
    """File of all that a judge's model answered, as `backend=replay` reads it."""
    return f"{JUDGES}/{judge}/{LABEL_SCORES}"


def held_out(judge: str) -> str:
    """File of a judge's scores of labelled items, by a calibration that did not see their prompts."""
    return f"{JUDGES}/{judge}/{HELD_OUT}"


def origin_of(run_id: str) -> str:
    """The id of the run whose checkpoints and answers a run uses: its own, unless it scored or chose again."""
    for mark in (SELECTED, RESCORED):
        run_id = run_id.partition(mark)[0]
    return run_id
