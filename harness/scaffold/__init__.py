"""From a file of rows to a task: what the rows are, how they could be measured, and why; no model is involved."""

from harness.scaffold.proposal import Choice, Proposal
from harness.scaffold.proposing import propose

__all__ = ["Choice", "Proposal", "propose"]
