"""The conclusion in one line, for a chat channel."""

from __future__ import annotations

from collections.abc import Mapping

from harness.core.protocols import RunView
from harness.data.display import escape


class OneLine:
    """`one_line.txt`."""

    def render(self, view: RunView) -> Mapping[str, bytes]:
        """Task, conclusion and what to ship."""
        result = view.result
        line = f"{result.task}: {result.conclusion.sentence} Ship: {result.conclusion.ship}"
        return {"one_line.txt": (escape(line, 500) + "\n").encode()}


reporter = OneLine()
