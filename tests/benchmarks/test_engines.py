"""The benchmark of engines: the same prompts for all who are compared, and ratios that mean what they are called."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.engines import COMPARED, RATIOS, WORK, agreement, main, ratio, requests_of
from benchmarks.measuring import Measured
from harness.core.types import Checkpoint

BY_NAME = {name: (places, prompts) for name, _, places, prompts in WORK}
ADAPTERS = [Checkpoint(n, 1.0, Path(), "adapter", str(n), None, None, None, None) for n in range(3)]


def test_who_is_compared_by_answers_gets_the_same_prompts_for_the_same_weights():
    for one, other in COMPARED:
        assert BY_NAME[one] == BY_NAME[other]


def test_prompts_of_a_round_differ_in_tokens_but_not_in_lengths():
    some, others = (requests_of(3, prompts, (24, 8), [None, *ADAPTERS]) for prompts in (0, 1))
    assert [len(request.ids) for request in some] == [len(request.ids) for request in others]
    assert all(one.ids != other.ids for one, other in zip(some, others, strict=True))
    assert some == requests_of(3, 0, (24, 8), [None, *ADAPTERS])
    assert some != requests_of(4, 0, (24, 8), [None, *ADAPTERS])
    assert [request.checkpoint for request in some[:5]] == [None, *ADAPTERS, None]
    assert all(40 <= len(request.ids) < 200 for request in some)


def test_ratios_mean_what_they_are_called():
    """raw 2 s, harness 4 s: half of its throughput; hf 1 s, vllm 4 s: four times the cost."""
    seconds = {name: 4.0 for name, *_ in WORK} | {"raw vLLM, base": 2.0, "harness hf, base": 1.0}
    times = {name: [Measured(each, each / 2)] * 3 for name, each in seconds.items()}
    found = {name: ratio(times, ours, theirs)["wall"] for name, ours, theirs in RATIOS}
    assert found["harness vllm over raw vLLM, base: throughput"] == 0.5
    assert found["vllm: cost of hf, base"] == 4.0
    times["harness vllm, three adapters in one batch"] = [Measured(5.0, 5.0)] * 3
    found = {name: ratio(times, ours, theirs)["wall"] for name, ours, theirs in RATIOS}
    assert found["three adapters: cost of one"] == 1.25


def test_agreement_is_the_share_of_equal_answers():
    assert agreement({"a": "x", "b": "y"}, {"a": "x", "b": "z"}) == 0.5


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_the_help_can_be_read(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "an environment with vLLM" in capsys.readouterr().out
