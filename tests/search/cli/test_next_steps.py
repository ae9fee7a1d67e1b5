"""What comes next is said at the end of a command, in words that the program takes."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from search_factories import opened, run

from search.cli.output import next_step
from search.cli.program import app
from search.study.folder import set_up

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def steps(stderr: str) -> list[list[str]]:
    """The commands after the last ``next:``, which end the output."""
    _, said, told = stderr.rpartition("next:\n")
    assert said, stderr
    found = [shlex.split(line, comments=True) for line in told.splitlines()]
    assert found and all(line.startswith("  ") for line in told.splitlines())
    return found


def check(words: list[str]) -> None:
    """Let the program's own parser read a command, without running it: it refuses unknown and missing words."""
    assert words[0] == "boostformer"
    command: Any = typer.main.get_command(app)
    rest, context = words[1:], None
    while hasattr(command, "resolve_command"):
        context = command.make_context("boostformer", [*rest], parent=context, resilient_parsing=True)
        name, command, rest = command.resolve_command(context, rest)
    command.make_context(name, rest, parent=context)


@pytest.mark.parametrize(
    ("command", "next_one"),
    [
        (("predict", "net", "data/images/validation", "--out", "{out}"), "export net --out net.onnx"),
        (("compare", "net"), "export net --out net.onnx"),
        (("data", "check", "data"), "init data --out run.yaml"),
        (("data", "check", "data", "--background", "a b"), "init data --background 'a b' --out run.yaml"),
        (("profile", "net"), "latency estimate net --device all"),
        (("recipes",), "recipes continue"),
        (("recipes", "pretrain"), "pretrain boostformer_b0 --recipe pretrain --data DIR --out net"),
        (("blocks",), "space boostformer_b0"),
        (("space", "tiny", "--samples", "10"), "init DATA --out run.yaml"),
        (("latency", "devices"), "latency estimate boostformer_b0 --device all"),
        (("latency", "estimate", "net", "--device", "all"), "latency measure net"),
        (
            ("latency", "estimate", "net", "--size", "64x64", "--device", "jetson-nano"),
            "latency measure net --size 64x64",
        ),
        (("latency", "measure", "net", "--device", "desk"), "export net --out net.onnx"),
        (("latency", "measure", "arch.json", "--device", "desk"), "latency estimate arch.json --device all"),
        (("report", "net", "--no-pictures", "--out", "{out}.html"), "export net --out net.onnx"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_it_is_said_and_can_be_typed(
    command: tuple[str, ...],
    next_one: str,
    run_cli: Cli,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = str(tmp_path / "made")
    (tmp_path / "devices.yaml").write_text("desk: {kind: host, seconds: 0.02, tolerance: 1000}\n")
    monkeypatch.setenv("BOOSTFORMER_DEVICES", str(tmp_path / "devices.yaml"))
    done = run_cli(*(word.format(out=out) for word in command), cwd=trained)
    assert done.returncode == 0, done.stderr
    first, *others = steps(done.stderr)
    assert first == ["boostformer", *shlex.split(next_one)]
    for words in (first, *others):
        check(words)


@pytest.mark.parametrize("command", [("trust",), ("report", "--no-pictures")], ids=lambda words: words[0])
def test_a_training_is_proposed_only_where_there_is_a_front(
    command: tuple[str, ...], run_cli: Cli, tmp_path: Path
) -> None:
    search = opened()
    set_up(tmp_path, search, 3)
    for trials in (0, 3):
        if trials:
            run(tmp_path, trials, search=search)
        done = run_cli(command[0], tmp_path, *command[1:])
        assert done.returncode == 0 and ("next:" in done.stderr) == bool(trials), done.stderr
    (words,) = steps(done.stderr)
    assert words[:2] == ["boostformer", "retrain"]
    check(words)


def test_a_result_for_machines_ends_without(run_cli: Cli, trained: Path) -> None:
    for command in (("compare", "net"), ("data", "check", "data"), ("profile", "net")):
        assert "next:" not in run_cli(*command, "--format", "json", cwd=trained).stderr


def test_a_step_that_the_program_does_not_know_would_be_found() -> None:
    with pytest.raises(Exception, match="--nonsense"):
        check(["boostformer", "export", "net", "--out", "a.onnx", "--nonsense"])


def test_it_imports_what_this_program_was_told_to(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOSTFORMER_IMPORT", "my blocks.py")
    next_step("boostformer pareto run", "python -c 'import boostformer'")
    first, second = steps(capsys.readouterr().err)
    assert first == ["boostformer", "--import", "my blocks.py", "pareto", "run"]
    assert second == ["python", "-c", "import boostformer"]
