"""A board that prints anything: it is read in time, and as what it is or as nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from evaluators.latency.jetson import board, trtexec
from evaluators.latency.jetson.runs import judged
from evaluators.latency.jetson.script import read_identity, read_outcome
from evaluators.latency.jetson.ssh import LONGEST_LINE, clipped

LOGS = sorted((Path(__file__).parents[1] / "logs").glob("*.log"))
MARK = "0" * 32


def read_all(text: str) -> None:
    """Read a text as each answer that a board gives."""
    read_identity(text)
    board.read_state(text)
    board.read_tegrastats(text)
    outcome = read_outcome(text, MARK)
    try:
        report = trtexec.parse(text)
    except trtexec.LogError:
        return
    if report.gpu is not None:
        judged(outcome, report)


WORDS = ["a", "9", "-", ".", " ", "a@", "1C ", "(", "min = ", "NV Power Mode: ", "GR3D_FREQ 1%@[", "zone ", "min(9%) "]


@pytest.mark.parametrize("word", WORDS)
def test_long_lines_are_read_in_time(word: str) -> None:
    """Read what took a minute; the number of steps is what counts, so the text is 40 times as long as one line."""
    line = clipped(word * 40_000)
    assert len(line) <= LONGEST_LINE
    read_all("\n".join([f"GPU Compute Time: min = {line}", f"GR3D_FREQ {line}", line] * 40))


def answer(log: str) -> str:
    parts = {"build": "", "built 0 3": "", "before": "NV Power Mode: MAXN\nGPU MinFreq=1 MaxFreq=2 CurrentFreq=2\n"}
    parts |= {"run": log, "ran 0 5": "", "after": "zone cpu 40000\n", "during": "GR3D_FREQ 99%@[900] cpu@41.5C\n"}
    parts |= {"times": '"computeMs" : 1.5\n"computeMs" : 1.6\n', "free": "900\n"}
    return "".join(f"\n{MARK} {name}\n{body}" for name, body in parts.items())


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.stem)
def test_damaged_answers_are_read(log: Path) -> None:
    draw, whole = random.Random(log.stem), answer(log.read_text())
    for _ in range(100):
        text = list(whole)
        for _ in range(draw.randint(1, 30)):
            at = draw.randrange(len(text))
            text[at : at + draw.choice([0, 1, 1, 40])] = draw.choice(
                ["", "²", "9" * 400, "-", "nan", "\0", "\n", "e999"]
            )
        read_all("".join(text))
