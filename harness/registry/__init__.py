"""Names to objects: the one door for the harness's own plug-ins, a third party's and a user's own file.

Listing imports nothing: a plug-in's one-line description is read from its module's source.
"""

from harness.registry.doors import load, source_digest
from harness.registry.own import require_own_packages
from harness.registry.points import (
    KINDS,
    Kind,
    Listed,
    TaskPackage,
    judge_roots,
    listed,
    names,
    task_packages,
    task_roots,
    unknown,
)

__all__ = [
    "KINDS",
    "Kind",
    "Listed",
    "TaskPackage",
    "judge_roots",
    "listed",
    "load",
    "names",
    "require_own_packages",
    "source_digest",
    "task_packages",
    "task_roots",
    "unknown",
]
