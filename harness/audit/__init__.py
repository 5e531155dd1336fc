"""The audit: what is wrong with a task's data, what it cannot tell, and what would block a run."""

from harness.audit.inspection import audit, droppable

__all__ = ["audit", "droppable"]
