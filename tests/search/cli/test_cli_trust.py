"""The command `trust`, on a run with three lengths of training, and what `retrain` adds to it."""

from __future__ import annotations

import csv
import errno
import io
import json
from pathlib import Path
from typing import Any

import pytest
from search_factories import opened, quality, run, small
from typer.testing import CliRunner

from boostformer.architecture import Architecture
from boostformer.data import DataConfig, SceneCounts
from boostformer.errors import UserError
from evaluators.proxy import Score
from results.pareto import front
from results.run import Retraining, read_run
from search.cli import program as cli


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False)


def graded(arch: Architecture, seed: int, progress: Any, *, rung: int, folder: Path, start: Any = None) -> Score:
    """Longer trainings score higher, in the same order; seeds differ a little."""
    return Score(quality(arch) / 2 + rung / 10 + seed / 1000, 1.0, f"rung {rung}", (2, 6, 18)[rung])


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    proxy = {"iterations": [2, 6, 18], "schedule": "wsd", "warmup_iterations": 0}
    data = DataConfig(kind="scenes", size=(64, 64), scenes=SceneCounts(training=8, validation=2))
    made = opened(small(), data=data, proxy=proxy, reduction_factor=2, final_seeds=3)
    run(folder, 20, graded, search=made)
    return folder


def test_the_run_has_what_the_report_needs(run_dir: Path) -> None:
    found = read_run(run_dir)
    lengths = [trial.iterations for trial in found.trials]
    assert (lengths.count(2), lengths.count(6)) == (20, 10)
    assert {trial.promoted for trial in found.trials} == {True, False}
    shown = invoke("pareto", run_dir, "--all", "--format", "csv")
    numbers = [str(trial.number) for trial in found.trials]
    assert [row["trial"] for row in csv.DictReader(io.StringIO(shown.stdout))] == numbers
    assert invoke("pareto", run_dir).stderr.startswith("compared: the 5 of 20 networks with 18 iterations\nnext:\n")
    assert "promoted" in invoke("pareto", run_dir, "--all").stdout
    assert {member.iterations for member in front(found.trials, found.objectives)} == {18}


def test_trust_in_words_and_as_data(run_dir: Path) -> None:
    said = invoke("trust", run_dir).stdout.splitlines()
    assert said[0].startswith("the proxy's ranking: trust it; tau 1.00 (1.00 to 1.00) between 2 and 6 iterations")
    assert said[1].startswith("merely counting reaches tau ")
    assert said[2].startswith("noise: from seed to seed the mIoU of a network varies by 0.10 %")
    assert "top_tau" in "".join(said[3:])
    document = json.loads(invoke("trust", run_dir, "--format", "json").stdout)
    assert document["verdict"] == "trust it" and document["decisive"]["iterations"] == 6
    rows = list(csv.DictReader(io.StringIO(invoke("trust", run_dir, "--format", "csv").stdout)))
    assert [row["long"] for row in rows] == [str(c["iterations"]) for c in document["comparisons"]]
    assert float(rows[0]["tau"]) == 1


def test_of_a_run_of_one_length_nothing_is_known(tmp_path: Path) -> None:
    run(tmp_path, 3, search=opened(small()))
    said = "the proxy's ranking: not known until at least 8 networks are trained longer; none was so far\n"
    assert invoke("trust", tmp_path).stdout == said
    assert json.loads(invoke("trust", tmp_path, "--format", "json").stdout)["comparisons"] == []
    assert invoke("trust", tmp_path, "--format", "csv").stdout.startswith("short,long,training,networks,tau,")


def test_what_is_retrained_is_told_to_the_run(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = front(read_run(run_dir).trials, ["miou", "macs", "params"])
    arguments = ("retrain", run_dir, "--pick", "smallest", "--iterations", 2, "--seed", 4)
    assert invoke(*arguments, "--out", tmp_path / "one").exit_code == 0
    (kept,) = read_run(run_dir).retrainings
    assert kept == Retraining(
        members[0].id,
        kept.miou,
        2,
        4,
        "retrained on scenes at 64x64, 4 images a step, rate 0.001, wsd, fp32, from scratch",
    )
    saved = json.loads((tmp_path / "one" / "config.json").read_text())
    assert saved["provenance"]["metrics"]["miou"] == kept.miou

    def refuse(run_dir: Path, found: Retraining) -> None:
        raise UserError("journal.log: cannot be written: Read-only file system")

    monkeypatch.setattr("results.run.note_retraining", refuse)
    done = invoke(*arguments, "--out", tmp_path / "two")
    assert done.exit_code == 0 and (tmp_path / "two" / "config.json").exists()
    assert "the run does not learn of this training: journal.log: cannot be written: Read-only" in done.stderr
    assert len(read_run(run_dir).retrainings) == 1

    def full(run_dir: Path, found: Retraining) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "journal.log")

    monkeypatch.setattr("results.run.note_retraining", full)
    done = invoke(*arguments, "--out", tmp_path / "three")
    assert done.exit_code == 0 and "the run does not learn of this training: [Errno 28] No space left" in done.stderr
