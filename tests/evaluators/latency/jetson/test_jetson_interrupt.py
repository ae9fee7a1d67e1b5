"""Ctrl-C while a board works: it must not go on building, under its lock, for somebody who has left."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest
from board_server import BoardServer, processes_of, until
from jetson_cases import NANO_MS, Meters, measure


@pytest.fixture
def ctrl_c_when() -> Iterator[Callable[[Callable[[], bool]], None]]:
    """Makes Ctrl-C come as soon as something is so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    main = threading.get_ident()

    def when(condition: Callable[[], bool]) -> None:
        def watch() -> None:
            while not condition():
                threading.Event().wait(0.01)
            signal.pthread_kill(main, signal.SIGINT)

        threading.Thread(target=watch, daemon=True).start()

    yield when
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("plan", [["hang"], ["ok", "hang"]])
def test_what_is_built_or_run_is_ended(
    meters: Meters, server: BoardServer, ctrl_c_when: Callable[[Callable[[], bool]], None], plan: list[str]
) -> None:
    meter = meters()
    server.board.plan(*plan)
    ctrl_c_when(lambda: len(server.board.steps()) == len(plan))
    with pytest.raises(KeyboardInterrupt):
        measure(meter)
    until(lambda: processes_of(server.sessions[-1]) == [])
    assert not (server.board.home / meter.device.folder / "run").exists()
    assert measure(meter).ms == NANO_MS


def test_waiting_for_the_board_is_ended(
    meters: Meters, server: BoardServer, ctrl_c_when: Callable[[Callable[[], bool]], None]
) -> None:
    meter = meters()
    folder = server.board.home / meter.device.folder
    folder.mkdir()
    with subprocess.Popen(["flock", folder / "lock", "sleep", "60"]) as other:
        ctrl_c_when(lambda: bool(server.commands) and "flock" in server.commands[-1])
        with pytest.raises(KeyboardInterrupt):
            measure(meter)
        until(lambda: processes_of(server.sessions[-1]) == [])
        assert server.board.steps() == []
        subprocess.run(["pkill", "-P", str(other.pid)], check=True)
