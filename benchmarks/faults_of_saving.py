"""The power goes while a trained network is saved: during `retrain`, and during `export`; needs root."""

from __future__ import annotations

import re
from pathlib import Path

from commands import Command
from disturbed import HANGS_AFTER, Ground
from faults_of_machine import without_power
from scale import FORK

from boostformer.architecture import Architecture
from boostformer.deploy.onnx_network import OnnxNetwork
from boostformer.deploy.record import manifest_of
from boostformer.model import BoostFormer, build
from boostformer.training.state import newest_state
from results.history import read_history
from results.run import read_run
from search.cli.full_training import BEST
from search.cli.sitting import STATE

ITERATIONS = 12
SMALL = ["--pick", "smallest", "--iterations", ITERATIONS, "--batch-size", 2, "--log", "none", "--threads", 1]
SMALL += ["--set", "save_every=1", "--set", "validate_every=4"]
DATA = "space: tiny\ndata: {kind: scenes, size: 32x64, scenes: {training: 4, validation: 2}}\n"
LOSSES = 3


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
        left = newest_state(net / STATE)
        assert whole or left >= int(told[-1]), f"state {told[-1]} was said to be saved, {left} is left"
