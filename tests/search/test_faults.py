"""Each fault of ``benchmarks/faults.py`` once, at random moments."""

from __future__ import annotations

import pytest
from faults import FAULTS, disturb
from throwaway_postgresql import Server


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_nothing_finished_is_lost_nor_done_twice_and_nothing_hangs(name: str, request: pytest.FixtureRequest) -> None:
    server: Server | None = request.getfixturevalue("server") if FAULTS[name][1] else None
    ground = disturb(name, server, seed=0, trials=30)
    assert ground.kept and ground.faults
