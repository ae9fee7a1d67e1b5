"""The program as a process: how it begins, and how Ctrl-C ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest

from search.cli import program

CODE = """
import signal, sys
signal.signal(signal.SIGINT, signal.{before})

class Stopping:
    def find_spec(self, name, *rest):
        if name == "search.cli.program":
            signal.raise_signal(signal.SIGINT)
            {then}

sys.meta_path.insert(0, Stopping())
from search.cli.__main__ import main
main()
"""


@pytest.mark.parametrize(("before", "then", "code"), [("default_int_handler", "", 130), ("SIG_IGN", "sys.exit(7)", 7)])
def test_ctrl_c_while_the_program_is_loaded_ends_it_in_silence(before: str, then: str, code: int) -> None:
    words = [sys.executable, "-c", CODE.format(before=before, then=then), "--help"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr, ended.stdout) == (code, "", "")


def test_a_stop_of_which_a_cluster_tells_several_times_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm does; a training that is stopping takes a second Ctrl-C for haste, and saves nothing."""
    told: list[int] = []
    stops = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in (*stops, signal.SIGINT)}

    def command(**options: Any) -> None:
        for number in (*stops, *stops, signal.SIGINT):
            signal.raise_signal(number)

    monkeypatch.setattr(program, "app", command)
    try:
        for number in stops:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, lambda number, frame: told.append(number))
        with pytest.raises(SystemExit):
            program.main()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert told == [signal.SIGINT] * 2


def test_a_warning_is_one_line_which_names_code_only_where_it_is_not_for_users() -> None:
    assert (
        program._one_line(UserWarning("a.jsonl: damaged"), UserWarning, "code.py", 7) == "warning: a.jsonl: damaged\n"
    )
    told = program._one_line(FutureWarning("a\nb"), FutureWarning, "code.py", 7)
    assert told.startswith("warning: code.py:7: FutureWarning: a") and told.count("\n") == 1
