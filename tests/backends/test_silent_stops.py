"""Stop strings that end at one and the same token: what stands before the first of them is the answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.types import Completion, Request, Sampling
from tests.backends.test_hf import completion, script, spelled
from tests.models.fixtures import open_backend


@pytest.mark.parametrize("stops", [("##", "b##"), ("b##", "##")], ids=["short first", "long first"])
def test_of_stop_strings_that_end_together_the_one_that_begins_first_cuts(
    zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch, stops: tuple[str, ...]
) -> None:
    hf = open_backend(zoo["llama3"])
    prompt, ids = spelled(hf, "cab##")
    script(monkeypatch, ids)
    found = completion(hf, Request("r", prompt, Sampling(len(ids) + 5, stop=stops), ()))
    assert found == Completion("ca", "stop", len(ids))
