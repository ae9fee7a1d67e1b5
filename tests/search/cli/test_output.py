"""What a terminal shows: tables of commands that fit it, and lines that end between words."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from boostformer.blocks import registry
from boostformer.errors import UserError
from search.cli import output, sign_of_life
from search.cli.output import between_words
from search.worker.progress import ConsoleReporter

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("columns", [80, 120, 160])
@pytest.mark.parametrize("command", [("profile", "segformer_b0"), ("space", "tiny", "--samples", 100)])
def test_tables_fit_the_terminal(
    command: tuple[str, ...], columns: int, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "width", lambda *_: columns)
    shown = run_cli(*command).stdout
    assert max(map(len, shown.splitlines())) <= columns


def test_blocks_are_listed_in_80_columns_without_a_measurement(run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "width", lambda *_: 80)
    monkeypatch.setattr("evaluators.block_costs._latencies", lambda *_: pytest.fail("nobody asked"))
    done = run_cli("blocks")
    assert done.returncode == 0 and max(map(len, done.stdout.splitlines())) <= 80
    assert {item.name for item in registry.declarations()} <= set(done.stdout.split())
    assert "in a wider terminal" in done.stdout and "source," in done.stdout
    refused = run_cli("blocks", "--fresh")
    assert refused.returncode == 2 and "--latency" in refused.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [(("export", "nowhere"), "exporting"), (("search", "nowhere.yaml"), "preparing data and costs")],
)
def test_what_takes_long_is_said_at_once_on_a_terminal(
    command: tuple[str, ...], said: str, run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is read; elsewhere the only line is that of the mistake."""
    silent = run_cli(*command, "--out", "out", cwd=tmp_path)
    assert silent.returncode == 2 and silent.stderr.count("\n") == 1 and said not in silent.stderr
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    shown = run_cli(*command, "--out", "out", cwd=tmp_path, TERM="xterm")
    assert shown.returncode == 2 and said in shown.stderr


def test_lines_end_between_words_but_commands_stay_in_one_piece() -> None:
    line = "cost     about 60 s a training, 27 min in all on this machine (the median of 3 trainings so far)"
    broken = between_words(line, 40).split("\n")
    assert all(len(part) <= 40 for part in broken) and len(broken) == 3
    assert " ".join(" ".join(broken).split()) == " ".join(line.split()) and broken[0].startswith("cost     about")
    command = "stopped: 3 networks finished; to resume: boostformer search run.yaml --out a/long/way/to/it"
    assert between_words(f"{command}\nshort", 40) == f"{command}\nshort"


@pytest.mark.parametrize("terminal", [True, False])
def test_the_lines_of_a_search_end_between_words_on_a_terminal(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("rich.console.Console.is_terminal", terminal)
    ConsoleReporter().says("trial 3 abc: failed: " + "unhappily " * 12)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (3 if terminal else 1)
    assert "".join(lines).count("unhappily") == 12 and all(line.count("unhapp") == line.count("ily") for line in lines)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("said_on", ["stdout", "stderr"])
def test_a_line_stands_from_the_import_of_a_slow_package_to_the_first_output(
    said_on: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = {"stdout": io.StringIO(), "stderr": Terminal()}
    for name, stream in terminal.items():
        monkeypatch.setattr(sys, name, stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sign_of_life, "SLOW", {"this"})
    monkeypatch.delitem(sys.modules, "this", raising=False)
    with sign_of_life.sign_of_life():
        assert terminal["stderr"].getvalue() == ""
        importlib.util.find_spec("this")
        assert terminal["stderr"].getvalue() == sign_of_life.TEXT
        print("found", file=getattr(sys, said_on))
        assert terminal["stderr"].getvalue().removeprefix(sign_of_life.TEXT).startswith("\r\x1b[K")
        shown = terminal["stderr"].getvalue()
        importlib.util.find_spec("this")
        assert terminal["stderr"].getvalue() == shown
    assert (sys.stdout, sys.stderr) == (terminal["stdout"], terminal["stderr"])
    assert terminal[said_on].getvalue().endswith("found\n") and terminal["stderr"].getvalue() == shown


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_line_gives_way_to_a_mistake_and_is_for_terminals_alone(
    stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sign_of_life, "SLOW", {"this"})
    monkeypatch.delitem(sys.modules, "this", raising=False)
    with pytest.raises(UserError), sign_of_life.sign_of_life():
        importlib.util.find_spec("this")
        raise UserError("no such thing")
    expected = f"{sign_of_life.TEXT}\r\x1b[K" if stream is Terminal else ""
    assert isinstance(sys.stderr, stream) and sys.stderr.getvalue() == expected
