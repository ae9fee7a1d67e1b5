"""Each fault of ``benchmarks/faults.py`` once, at random moments."""

from __future__ import annotations

from contextlib import nullcontext

import faults
import pytest
from faults import FAULTS, NEED_ROOT, disturb
from faults_of_machine import call
from forked import forking
from throwaway_postgresql import Server

from search.worker import local

WHOLE_COMMANDS = {"kill -9 of the parent", "power loss, retrain", "power loss, export"}


@pytest.mark.slow
@pytest.mark.usefixtures("synced")
@pytest.mark.parametrize("name", FAULTS)
def test_nothing_finished_is_lost_nor_done_twice_and_nothing_hangs(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in NEED_ROOT:
        try:
            call("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt")
        except (AssertionError, FileNotFoundError) as error:
            pytest.skip(f"nothing can be mounted here: {error}")
    server: Server | None = request.getfixturevalue("server") if FAULTS[name][1] else None
    trials = 5 if name in WHOLE_COMMANDS else 30
    if name == "kill -9 of the parent":  # that one starts whole searches, again and again, which nothing hurries
        monkeypatch.setattr(faults, "hurried", nullcontext)
        monkeypatch.setattr(faults, "subprocess", forking())
        monkeypatch.setattr(local, "subprocess", forking())
    ground = disturb(name, server, seed=0, trials=trials)
    assert ground.kept and ground.faults
