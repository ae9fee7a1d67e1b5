"""What a worker that NNI started tells it, with a stand-in for its package; and when it stops."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from search_factories import standing

from boostformer.errors import UserError
from results.trial import Status, Trial, TrialKey
from search.worker.launchers.nni.experiment import require_nni
from search.worker.launchers.nni.worker import JOB_VARIABLE, shown_by_nni
from search.worker.progress import LineReporter


def make_trial(status: Status = Status.FINISHED, miou: float | None = 0.25) -> Trial:
    return Trial(3, TrialKey("abc", 0, 7), status, {}, 10**6, 10**9, 0, 0, True, miou=miou, seconds=2.0)


class Nni(ModuleType):
    """Stands for the package `nni` in a trial; ``away`` as when its manager has died."""

    def __init__(self) -> None:
        super().__init__("nni")
        self.told: list[Any] = []
        self.away = False

    def get_next_parameter(self) -> dict[str, int]:
        return {"worker": 0}

    def report_intermediate_result(self, result: Any) -> None:
        if self.away:
            raise ConnectionRefusedError("nobody there")
        self.told.append(result)

    report_final_result = report_intermediate_result


@pytest.fixture
def nni(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nni]:
    stand_in = Nni()
    monkeypatch.setitem(sys.modules, "nni", stand_in)
    monkeypatch.setenv(JOB_VARIABLE, "abcde")
    before = signal.getsignal(signal.SIGINT)
    yield stand_in
    signal.signal(signal.SIGINT, before)


def test_a_worker_that_nni_did_not_start_tells_it_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JOB_VARIABLE, raising=False)
    reporter = LineReporter()
    with shown_by_nni(reporter) as shown:
        assert shown is reporter


def test_nni_is_told_of_finished_trials_and_of_the_best(nni: Nni) -> None:
    written = io.StringIO()
    with shown_by_nni(LineReporter(written)) as reporter:
        reporter.begins(standing(9))
        for miou in (0.25, 0.5, 0.375):
            reporter.ended(make_trial(miou=miou))
        reporter.ended(make_trial(Status.FAILED, None))
        reporter.set_aside(make_trial(Status.WAITING))
    *intermediate, final = nni.told
    assert [result["default"] for result in intermediate] == [0.25, 0.5, 0.375] and final == 0.5
    assert all(type(value) in (int, float) for value in intermediate[0].values())
    assert intermediate[0].items() >= {"trial": 3, "params": 10**6, "macs": 10**9, "seconds": 2.0, "seed": 7}.items()
    assert len(written.getvalue().splitlines()) == 5, "the other reporter is told as well"


def test_without_a_finished_trial_there_is_no_result(nni: Nni) -> None:
    with shown_by_nni(LineReporter()) as reporter:
        reporter.begins(standing(9))
        reporter.ended(make_trial(Status.FAILED, None))
    assert nni.told == []


def test_a_search_goes_on_when_nni_is_away(nni: Nni) -> None:
    written = io.StringIO()
    with shown_by_nni(LineReporter(written)) as reporter:
        nni.away = True
        reporter.begins(standing(9))
        for _ in range(3):
            reporter.ended(make_trial())
    said = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [message["says"] for message in said if "says" in message] == [
        "NNI does not answer, its page lacks what follows: ConnectionRefusedError: nobody there"
    ]


def test_a_stopped_worker_ends_by_the_signal(nni: Nni, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[Any] = []
    monkeypatch.setattr(os, "kill", lambda *arguments: killed.append(arguments))
    with pytest.raises(KeyboardInterrupt), shown_by_nni(LineReporter()):
        raise KeyboardInterrupt
    assert killed == [(os.getpid(), signal.SIGINT)] and signal.getsignal(signal.SIGINT) is signal.SIG_DFL


def test_a_worker_without_nni_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JOB_VARIABLE, "abcde")
    for module in (
        "nni",
        "nni.runtime.log",
        "nni.tools.nnictl.common_utils",
    ):  # an earlier test may have imported the latter
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match="extra nni"), shown_by_nni(LineReporter()):
        pass
    with pytest.raises(UserError, match="constraints-nni.txt"):
        require_nni()


def test_a_worker_stops_when_the_process_that_started_it_dies() -> None:
    worker = """
import signal, sys
from search.worker.launchers.nni.worker import _stop_with_parent
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background job
_stop_with_parent(0.01)
print("works", flush=True)
try:
    signal.pause()
except KeyboardInterrupt:
    print("gives back")
"""
    parent = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
print(child.stdout.readline().decode(), end="", flush=True)
import os, shutil
if os.fork():
    os._exit(9)  # as if killed: the worker's parent is gone
shutil.copyfileobj(child.stdout, sys.stdout.buffer)
"""
    done = subprocess.run([sys.executable, "-c", parent, worker], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split("\n")[:2]) == (9, ["works", "gives back"])
