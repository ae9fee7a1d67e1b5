"""Each fault of ``benchmarks/faults.py`` once, at random moments."""

from __future__ import annotations

import pytest
from faults import FAULTS, NEED_ROOT, disturb
from faults_of_machine import call
from throwaway_postgresql import Server

WHOLE_COMMANDS = {"kill -9 of the parent", "power loss, retrain", "power loss, export"}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_nothing_finished_is_lost_nor_done_twice_and_nothing_hangs(name: str, request: pytest.FixtureRequest) -> None:
    if name in NEED_ROOT:
        try:
            call("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt")
        except (AssertionError, FileNotFoundError) as error:
            pytest.skip(f"nothing can be mounted here: {error}")
    server: Server | None = request.getfixturevalue("server") if FAULTS[name][1] else None
    trials = 5 if name in WHOLE_COMMANDS else 30
    ground = disturb(name, server, seed=0, trials=trials)
    assert ground.kept and ground.faults
