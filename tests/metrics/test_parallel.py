"""Measuring in several processes: the same rows, whatever happens to the others."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest

from harness.metrics import parallel, worker
from harness.metrics.chrf import Chrf
from harness.metrics.parallel import measured

WORDS = ["red", "green", "blue", "amber", "violet", "seven", "eight", "stone", "river", "cloud"]


def corpus(n, seed=0):
    rng = np.random.default_rng(seed)
    return [[" ".join(rng.choice(WORDS, rng.integers(0, 12))) for _ in range(n)] for _ in range(2)]


@dataclass(frozen=True)
class Counting:
    """A metric that notes what is asked of it in this process; its row is the completion's length."""

    calls: list
    portable: bool = True

    def measure(self, samples, completions):
        self.calls.append(len(samples))
        time.sleep(0.002 * len(samples))
        return np.array([[float(len(c)), 1.0] for c in completions]).reshape(-1, 2)

    def __reduce__(self):
        return Counting, ([], True)


@pytest.fixture
def started(monkeypatch):
    """Every worker that is started."""
    found = []
    start = parallel._started

    def noted():
        found.append(start())
        return found[-1]

    monkeypatch.setattr(parallel, "_started", noted)
    return found


@pytest.mark.parametrize("name", ["bleu", "chrf", "ter", "rouge_1", "rouge_l", "rouge_lsum"])
def test_rows_are_the_same_and_in_order(make, samples_of, started, monkeypatch, name):
    monkeypatch.setattr(parallel, "_TRIAL_S", 1e-9)
    monkeypatch.setattr(parallel, "_MOST_ROWS", 40)
    references, completions = corpus(600)
    samples = samples_of(references)
    metric = make(name, samples)
    found = measured(metric, samples, completions, n_processes=3, pays_from_s=0)
    assert np.array_equal(found, metric.measure(samples, completions))
    assert len(started) == 2
    assert all(one.poll() is not None for one in started)


def test_the_other_process_really_measures(make, samples_of, started, monkeypatch):
    """Here every row takes two milliseconds; the other process does not know that."""
    references, completions = corpus(3000)
    samples = samples_of(references)
    metric = make("chrf", samples)
    expected, measure, calls = metric.measure(samples, completions), Chrf.measure, []

    def slow(self, samples, completions):
        calls.append(len(samples))
        time.sleep(0.002 * len(samples))
        return measure(self, samples, completions)

    monkeypatch.setattr(Chrf, "measure", slow)
    found = measured(metric, samples, completions, n_processes=2, pays_from_s=0)
    assert np.array_equal(found, expected)
    assert len(started) == 1
    assert sum(calls) < 3000


def test_a_metric_that_the_other_process_does_not_know_is_measured_here(samples_of, started, monkeypatch):
    monkeypatch.setattr(parallel, "_TRIAL_S", 1e-9)
    metric = Counting([])
    references, completions = corpus(200)
    found = measured(metric, samples_of(references), completions, n_processes=2, pays_from_s=0)
    assert found[:, 0].tolist() == [len(c) for c in completions]
    assert sum(metric.calls) == 200


def test_what_is_quick_stays_here(make, samples_of, started):
    references, completions = corpus(300)
    samples = samples_of(references)
    metric = make("rouge_l", samples)
    assert np.array_equal(measured(metric, samples, completions), metric.measure(samples, completions))
    assert started == []


@pytest.mark.parametrize("n", [0, 1, 2, 33])
def test_few_samples_and_none(make, samples_of, n):
    references, completions = corpus(40)
    metric = make("chrf", samples_of(references))
    samples = samples_of(references)[:n]
    found = measured(metric, samples, completions[:n], n_processes=2, pays_from_s=0)
    assert np.array_equal(found, metric.measure(samples, completions[:n]))


def test_a_metric_that_is_not_portable_is_measured_here_in_one_go(samples_of, started):
    metric = Counting([], portable=False)
    references, completions = corpus(200)
    measured(metric, samples_of(references), completions, n_processes=2, pays_from_s=0)
    assert (metric.calls, started) == ([200], [])


def test_a_metric_that_does_not_pickle_is_measured_here(samples_of, started):
    @dataclass(frozen=True)
    class Local(Counting):
        def __reduce__(self):
            raise TypeError("cannot pickle")

    metric = Local([])
    references, completions = corpus(200)
    measured(metric, samples_of(references), completions, n_processes=2, pays_from_s=0)
    assert (metric.calls, started) == ([200], [])


def test_a_killed_worker_costs_time_and_nothing_else(make, samples_of, monkeypatch):
    monkeypatch.setattr(parallel, "_TRIAL_S", 1e-9)
    monkeypatch.setattr(parallel, "_MOST_ROWS", 20)
    start, killed = parallel._started, []

    def doomed():
        one = start()
        threading.Timer(0.2 * len(killed), one.kill).start()
        killed.append(one)
        return one

    monkeypatch.setattr(parallel, "_started", doomed)
    references, completions = corpus(2000)
    samples = samples_of(references)
    metric = make("ter", samples)
    found = measured(metric, samples, completions, n_processes=4, pays_from_s=0)
    assert np.array_equal(found, metric.measure(samples, completions))
    assert len(killed) == 3


def test_no_process_to_be_had_is_no_reason_to_stop(make, samples_of, monkeypatch):
    def refused():
        raise OSError("no more processes")

    monkeypatch.setattr(parallel, "_started", refused)
    monkeypatch.setattr(parallel, "_TRIAL_S", 1e-9)
    references, completions = corpus(200)
    samples = samples_of(references)
    metric = make("bleu", samples)
    found = measured(metric, samples, completions, n_processes=2, pays_from_s=0)
    assert np.array_equal(found, metric.measure(samples, completions))


def test_an_error_is_the_metrics_own(samples_of, started, monkeypatch):
    @dataclass(frozen=True)
    class Failing(Counting):
        def measure(self, samples, completions):
            if any(sample.id == "150" for sample in samples):
                raise ValueError("sample 150 cannot be scored")
            return Counting.measure(self, samples, completions)

    monkeypatch.setattr(parallel, "_TRIAL_S", 1e-9)
    references, completions = corpus(200)
    with pytest.raises(ValueError, match="sample 150"):
        measured(Failing([]), samples_of(references), completions, n_processes=2, pays_from_s=0)
    assert all(one.poll() is not None for one in started)


def test_ctrl_c_leaves_no_process_behind(samples_of, started, monkeypatch):
    monkeypatch.setattr(parallel, "_TRIAL_S", 1e-9)
    references, completions = corpus(20_000)
    samples = samples_of(references)
    # Whoever starts the tests in the background has Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(0.4, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            measured(Counting([]), samples, completions, n_processes=3, pays_from_s=0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(started) == 2
    assert all(one.poll() is not None for one in started)


def test_a_worker_ends_with_the_process_that_started_it():
    """Its input ends, as it does when the parent is killed."""
    one = subprocess.Popen(
        [sys.executable, "-m", "harness.metrics.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    one.stdin.close()
    assert one.wait(timeout=60) == 0
    assert one.stdout.read() == b""
    one.stdout.close()


def test_what_a_library_prints_does_not_come_between_the_frames():
    text = (
        "import pickle, sys, numpy as np, harness.metrics.worker as w\n"
        "class Loud:\n"
        "    def measure(self, samples, completions):\n"
        "        print('hello'); return np.array([[float(len(completions))]])\n"
        "w.main()"
    )
    request = io.BytesIO()
    for content in (b"c__main__\nLoud\n)R.", b"](e](X\x01\x00\x00\x00aX\x01\x00\x00\x00be\x86."):
        worker.send(request, content)
    done = subprocess.run([sys.executable, "-c", text], input=request.getvalue(), capture_output=True)
    replies = io.BytesIO(done.stdout)
    assert np.load(io.BytesIO(worker.receive(replies))).tolist() == [[2.0]]
    assert replies.read() == b""
    assert b"hello" in done.stderr
