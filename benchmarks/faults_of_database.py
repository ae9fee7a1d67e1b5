"""Faults of a search's database: restarted, read-only, with a clock that jumps, or asked by workers of other code."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
from disturbed import CROWD, HANGS_AFTER, Ground, opened
from scale import FORK
from throwaway_postgresql import Server

import boostformer
from boostformer.errors import UserError
from search.study import leases
from search.study.folder import join
from search.study.queue import Queue


def restarted_server(ground: Ground) -> None:
    """PostgreSQL is stopped, in good order or as by a crash, and started again under three workers."""
    assert ground.server is not None
    ground.together = FORK.Barrier(CROWD + 1)  # one that cannot even begin says so and ends
    workers = [ground.start() for _ in range(CROWD)]
    ground.together.wait(HANGS_AFTER)
    ground.together = None
    for how in ground.rng.permutation(["fast", "immediate"]):
        ground.pause(1.0)
        ground.server.stop(str(how))
        ground.pause()
        ground.server.start()
        ground.faults += 1
        ground.look()
    for worker in workers:
        worker.join(HANGS_AFTER)
        assert worker.exitcode == 0, f"a worker ended with {worker.exitcode}: {ground.said.read_text()[-4000:]}"
    ground.conclude()


def clock_set_back(ground: Ground) -> None:
    """The server's clock jumps by up to a day, back or forth, with every heartbeat; one worker is killed meanwhile."""
    beat = leases.HeartbeatLeases.beat
    jumps = "UPDATE trial_heartbeats SET heartbeat = heartbeat + :jump * INTERVAL '1 s' WHERE trial_id = :id"

    def jumping(mine: leases.HeartbeatLeases) -> None:
        from sqlalchemy import text

        beat(mine)
        if mine._trial_id is not None:
            with mine._engine.begin() as connection:
                jump = float(np.random.default_rng().uniform(-86400, 86400))
                connection.execute(text(jumps), {"jump": jump, "id": mine._trial_id})

    with patch.object(leases.HeartbeatLeases, "beat", jumping):
        workers = [ground.start() for _ in range(CROWD)]
        ground.pause(1.0)
        workers[0].kill()
        for worker in workers:
            worker.join(HANGS_AFTER)
        assert [worker.exitcode for worker in workers[1:]] == [0] * (CROWD - 1)
        ground.faults += 1
        ground.conclude()


def other_code(ground: Ground) -> None:
    """Workers with another version of the code or of the space want to join; three others work on."""
    workers = [ground.start() for _ in range(CROWD)]
    for number in range(6):
        ground.pause(0.2)
        if number % 2:
            wrong = patch.object(boostformer, "__version__", "0.0.0")
        else:
            wrong = patch("search.study.fingerprint.SAMPLES", 7)
        with wrong, tempfile.TemporaryDirectory() as elsewhere:
            assert ground.database is not None
            join(Path(elsewhere), ground.database)
            try:
                Queue(Path(elsewhere), opened())
            except UserError:
                ground.faults += 1
            else:
                raise AssertionError("other code was let in")
    for worker in workers:
        worker.join(HANGS_AFTER)
    ground.conclude()


def read_only_server(ground: Ground) -> None:
    """PostgreSQL takes no writes for a while under three workers, as a stand-by does; they wait for it."""
    assert ground.server is not None
    barrier = ground.together = FORK.Barrier(CROWD + 1)
    workers = [ground.start() for _ in range(CROWD)]
    ground.together = None
    while barrier.n_waiting < CROWD and all(worker.is_alive() for worker in workers):
        ground.pause(0.1)
    try:
        for number in range(3):
            before = _refused(ground.server)
            ground.server.take_writes(False)
            if number == 0:  # a quick search would be over before
                barrier.wait(HANGS_AFTER)
            while _refused(ground.server) == before and any(worker.is_alive() for worker in workers):
                ground.pause(0.1)
            ground.faults += _refused(ground.server) > before
            ground.look()
            ground.server.take_writes(True)
            ground.pause(0.2)
    finally:
        ground.server.take_writes(True)  # it is there for others, too
    for worker in workers:
        worker.join(HANGS_AFTER)
        assert worker.exitcode == 0, f"a worker ended with {worker.exitcode}: {ground.said.read_text()[-4000:]}"
    ground.conclude()


def _refused(server: Server) -> int:
    """Count the writes that the server has refused since it began."""
    return (server.folder / "log").read_text().count("in a read-only transaction")
