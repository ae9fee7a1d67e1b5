"""The power goes while a trained network is saved: during `retrain`, and during `export`; needs root."""

from __future__ import annotations

import importlib
import os
import re
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from disturbed import HANGS_AFTER, Ground
from faults_of_machine import without_power
from scale import FORK

from boostformer import files
from boostformer.architecture import Architecture
from boostformer.deploy.onnx_network import OnnxNetwork
from boostformer.deploy.record import manifest_of
from boostformer.model import BoostFormer, build
from boostformer.training.state import ResumableState, newest_state
from results.history import read_history
from results.run import read_run
from search.cli.full_training import BEST
from search.cli.sitting import STATE

ITERATIONS = 12
SMALL = ["--pick", "smallest", "--iterations", ITERATIONS, "--batch-size", 2, "--log", "none", "--threads", 1]
SMALL += ["--set", "save_every=1", "--set", "validate_every=4"]
DATA = "space: tiny\ndata: {kind: scenes, size: 32x64, scenes: {training: 4, validation: 2}}\n"
LOSSES = 3
NEEDED = ("accelerate", "boostformer.deploy.export", "boostformer.predict", "boostformer.training")
NEEDED += ("matplotlib.figure", "results.report.draw_curves", "search.cli.program")
"""What commands import in good time; here once for all that are forked."""


def power_loss_of_retrain(ground: Ground) -> None:
    """The power goes while `retrain` trains, saves and scores: what it said to be saved is there, and it goes on."""
    ground.conclude()
    net, data = ground.folder.with_name("net"), ground.folder.with_name("data.yaml")
    data.write_text(DATA)
    command = Command(ground.folder, "retrain", ground.folder, "--data", data, "--out", net, *SMALL)
    moments = sorted(map(int, ground.rng.integers(1, ITERATIONS + 1, LOSSES)))
    for number, iteration in enumerate(moments):
        if number + 1 < LOSSES:
            command.wait_for(f"state {iteration} is saved")
            ground.pause(0.1)
        else:  # at once when it is said
            command.wait_for("; saved in")
        with command.stopped(), without_power(ground.folder) as place:
            copy = place / net.name
            _check(copy, command.said())
            if number == 0:  # the same command goes on with what is left
                left = newest_state(copy / STATE)
                again = Command(place / "run", "retrain", place / "run", "--data", data, "--out", copy, *SMALL)
                again.end()
                assert not left or f"resumed after iteration {left}" in again.said(), again.said()
                _check(copy, again.said())
            ground.faults += 1
    command.end()
    with without_power(ground.folder) as place:
        _check(place / net.name, command.said())
        assert len(read_run(place / "run").retrainings) == 1, "the run has lost the score of the retraining"


def power_loss_of_export(ground: Ground) -> None:
    """The power goes while `export` writes, and once it has said so: what is in its place is whole."""
    chosen = next(trial for trial in ground.conclude() if trial.is_finished)
    net = ground.folder.with_name("net")
    build(Architecture.from_dict(chosen.architecture)).save_pretrained(net)
    file = net.with_suffix(".onnx")
    command = Command(ground.folder, "export", net, "--out", file)
    for moment in ("onnx is in place", "manifest.json is in place", "; manifest "):
        command.wait_for(moment)
        with command.stopped(), without_power(ground.folder) as place:
            copy = place / file.name
            # Not here: ONNX Runtime's threads would be missing in the next process that is forked.
            reading = FORK.Process(target=OnnxNetwork, args=(copy,))
            reading.start()
            reading.join(HANGS_AFTER)
            assert reading.exitcode == 0, "it cannot be read, or is not the one of its manifest"
            assert manifest_of(copy).exists() or moment.startswith("onnx"), "its manifest is gone"
            ground.faults += 1
    command.end()


def _check(net: Path, said: str) -> None:
    """Hold what an ext4 kept of a training against what its command had said."""
    if "; saved in" in said:
        miou = BoostFormer.load(net).provenance["metrics"]["miou"]
        assert f"mIoU {miou:.2%}" in said, "another score than it said"
        BoostFormer.load(net / BEST)
        assert [row["iteration"] for row in read_history(net)] == [4, 8, 10, ITERATIONS]
    elif told := re.findall(r"state (\d+) is saved", said):
        whole = (net / "config.json").exists() and BoostFormer.load(net)  # then its states may be gone
        assert whole or newest_state(net / STATE) >= int(told[-1]), "a state that was said to be saved is gone"


class Command:
    """A command of the program in a process of its own, and what it says: also each state and file that it saved."""

    def __init__(self, run_dir: Path, *words: object) -> None:
        self._file = run_dir.with_name(f"{uuid.uuid4().hex}.txt")
        self._file.touch()
        for name in NEEDED:
            importlib.import_module(name)
        self._process = FORK.Process(target=self._run, args=(["boostformer", *map(str, words)],), daemon=True)
        self._process.start()

    def said(self) -> str:
        return self._file.read_text()

    def wait_for(self, word: str) -> None:
        """Wait until it says a word."""
        ends = time.monotonic() + HANGS_AFTER
        while word not in self.said():
            assert self._process.is_alive() and time.monotonic() < ends, self.said()[-4000:]
            time.sleep(0.002)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Hold it for the block, so that nothing changes beside what is looked at; it may have ended before."""
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGCONT)

    def end(self) -> None:
        """Let it come to its end, which is a good one."""
        self._process.join(HANGS_AFTER)
        assert self._process.exitcode == 0, f"it ended with {self._process.exitcode}: {self.said()[-4000:]}"

    def _run(self, words: list[str]) -> None:
        main = importlib.import_module("search.cli.program").main
        save, publish = ResumableState.save, files.publish

        def telling(state: ResumableState, iteration: int, *rest: Any) -> None:
            save(state, iteration, *rest)
            print(f"state {iteration} is saved", file=sys.stderr)

        def placing(draft: Path, final: Path) -> None:
            publish(draft, final)
            print(f"{final.name} is in place", file=sys.stderr)

        telling_of = patch.object(ResumableState, "save", telling), patch.object(files, "publish", placing)
        with self._file.open("a") as file, telling_of[0], telling_of[1]:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
            sys.argv = words
            main()
