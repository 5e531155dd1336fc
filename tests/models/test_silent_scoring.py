"""Each label gets its own probability, whatever order the labels are asked in."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.judging import LabelScores
from tests.models.fixtures import open_backend
from tests.models.test_scoring import plain, requests

# Neither in order nor of one length; none begins another.
LABELS = [(50, 51, 52, 53), (22,), (40, 42, 44), (21,), (40, 41)]


@pytest.mark.parametrize("labels", [LABELS, LABELS[::-1], [(22,), (21,)]], ids=["mixed", "turned round", "single"])
def test_scores_come_in_the_order_in_which_the_labels_were_asked_for(
    zoo: dict[str, Path], labels: list[tuple[int, ...]]
) -> None:
    hf = open_backend(zoo["llama3"])
    for name, found in hf.label_scores(requests(3), labels):
        [request] = [each for each in requests(3) if each.id == name]
        assert isinstance(found, LabelScores)
        assert found.log_probs == pytest.approx(plain(hf, request, labels), abs=1e-4)
