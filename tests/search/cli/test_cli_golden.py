"""Tables of commands as they look at 80 and 160 columns; ``GOLDEN=write`` writes the files anew, to be looked at."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from layout_writers import WRITERS

from search.cli import data, output

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
FOLDER = Path(__file__).parent / "golden"
COMMANDS = {
    "recipes": ("recipes",),
    "devices": ("latency", "devices"),
    "estimate": ("latency", "estimate", "boostformer_b0", "--size", "64x64", "--device", "all"),
    "profile": ("profile", "segformer_b0"),
    "space": ("space", "tiny", "--samples", "100"),
    "data": ("data", "check"),
}


def words_of(text: str) -> set[str]:
    """Names and numbers, which a table must not break."""
    return set(re.findall(r"[\w.]{3,}", text))


@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize("name", COMMANDS)
def test_output(name: str, columns: int, run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = COMMANDS[name]
    if name == "data":
        command = (*command, str(WRITERS["voc"](tmp_path)))
    whole = run_cli(*command, cwd=tmp_path, BOOSTFORMER_CACHE=str(tmp_path / "cache")).stdout
    for module in (output, data):
        monkeypatch.setattr(module, "width", lambda: columns)
    done = run_cli(*command, cwd=tmp_path, BOOSTFORMER_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    tables = [line for line in done.stdout.splitlines() if line.startswith(("┃", "│", "┏", "└"))]
    assert tables and max(map(len, tables)) <= columns
    cells = {word for line in tables for word in words_of(line)}
    joints = {piece for word in words_of(whole) for piece in re.findall(r"[\w]{3,}", word)}
    broken = {w for w in cells if w not in words_of(whole) and not set(re.findall(r"[\w]{3,}", w)) <= joints}
    assert not broken, "a table breaks inside words"
    shown = re.sub(r"[\d.,]+ MB", "N MB", done.stdout.replace(str(tmp_path), "FOLDER"))
    shown = "\n".join(line.rstrip() for line in shown.splitlines()) + "\n"
    file = FOLDER / f"{name}_{columns}.txt"
    if os.environ.get("GOLDEN") == "write":
        file.write_text(shown, encoding="utf-8")
    assert shown == file.read_text(encoding="utf-8")
