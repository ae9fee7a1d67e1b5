"""A search with a start that screens networks as it begins: what it sees, says, keeps and refuses."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from run_files import FEW, write
from search_factories import small, table

from boostformer.architecture import Architecture
from boostformer.model import BoostFormer
from boostformer.training import TrainingFailure
from evaluators.glance import Glance
from evaluators.proxy import Proxy
from results.run import read_run
from results.storage.location import is_run
from search.cli.screening import screened
from search.config.experiment import difference
from search.config.frozen import run_file_of
from search.config.opening import OpenExperiment, resolve
from search.study.folder import read_experiment, set_up

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
START = FEW.replace("strategy: nsga2", "start: net").replace("segformer_b0", "start").replace("50%", "70%")
SCREEN = START.replace("start: net", "start: net, screen: 6").replace("  macs: 5M\n", "")
"""Six networks are seen, within 70 % of the start's parameters."""


@cache
def by_size() -> list[Architecture]:
    return sorted(small(), key=lambda arch: table().cost(arch).params)


@pytest.fixture
def net(folder: Path) -> BoostFormer:
    """The largest network of the space, beside the run file."""
    model = BoostFormer(by_size()[-1])
    model.save_pretrained(folder / "net")
    return model


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Glances take no training: the more parameters the better; gives the ids of what was looked at."""
    seen: list[str] = []

    def look(self: Glance, arch: Architecture) -> float:
        seen.append(arch.id)
        return table().cost(arch).params / 1e6

    monkeypatch.setattr(Glance, "__call__", look)
    monkeypatch.setattr(Proxy, "seconds_per_step", lambda self, arch: 0.01)
    return seen


def opened(folder: Path, text: str = SCREEN) -> OpenExperiment:
    return resolve(write(folder, text))[0]


def test_how_many_are_screened_is_part_of_the_search(folder: Path, net: BoostFormer) -> None:
    this = opened(folder)
    assert this.experiment.search.screen == 6 and not this.experiment.screened
    assert opened(folder, START).experiment.search.screen is None
    again = opened(folder, run_file_of(this.experiment, 7)).experiment
    assert again.search == this.experiment.search and difference(this.experiment.to_dict(), again.to_dict()) is None
    none = opened(folder, SCREEN.replace("screen: 6", "screen: 0")).experiment
    assert opened(folder, run_file_of(none, 7)).experiment.search.screen == 0


def test_the_best_are_kept_and_tried_first(
    folder: Path, net: BoostFormer, looks: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    this = screened(opened(folder), trials=2)
    assert len(looks) == 6
    said = capsys.readouterr().err
    assert "screen   6 networks of 10 iterations each, before any is trained longer: about" in said
    assert "6/6 networks screened, best mIoU" in said and "the 2 best are tried first" in said
    limit = this.experiment.budgets["params"]
    ids = [arch.id for arch in this.experiment.asked_first]
    costs = [table().cost(arch).params for arch in this.experiment.asked_first]
    assert costs == sorted(costs, reverse=True) and max(costs) <= limit and set(ids) <= set(looks)
    set_up(folder / "run", this, 2)
    assert read_experiment(folder / "run").asked_first == this.experiment.asked_first


def test_another_that_begins_the_same_search_takes_over_what_the_first_found(folder: Path, net: BoostFormer) -> None:
    this = opened(folder)
    one, other = (this.having_screened([arch.to_dict()]) for arch in by_size()[:2])
    assert set_up(folder / "run", one, 3) is one
    held = set_up(folder / "run", other, 3)
    assert held.experiment.screened == one.experiment.screened


def test_what_is_known_is_not_tried_again(folder: Path, net: BoostFormer, looks: list[str]) -> None:
    first, *_ = screened(opened(folder), trials=3).experiment.asked_first
    others = screened(opened(folder), trials=3, known=[first.id]).experiment.asked_first
    assert others and first not in others


@pytest.mark.parametrize(("iterations", "trials"), [(10, 35), (500, 30), (10, 15)])
def test_unless_told_it_takes_a_tenth_of_the_search_and_few_networks(
    folder: Path,
    net: BoostFormer,
    looks: list[str],
    capsys: pytest.CaptureFixture[str],
    iterations: int,
    trials: int,
) -> None:
    text = SCREEN.replace(", screen: 6", "").replace("iterations: 10", f"iterations: {iterations}")
    screened(opened(folder, text), trials=trials)
    assert f"screen   {min(100, trials * iterations // 100)} network" in capsys.readouterr().err
    assert screened(opened(folder, text.replace(f"iterations: {iterations}", "iterations: 1")), trials=9) is not None
    assert "screen   not done: the search is too short for it" in capsys.readouterr().err


def test_an_hour_is_not_spent_on_it(
    folder: Path, net: BoostFormer, looks: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    screened(opened(folder), trials=3, hours=1e-12)
    assert "screen   1 network of 10 iterations" in capsys.readouterr().err and len(looks) == 1


def test_it_ends_when_its_time_is_up_also_where_that_was_not_foreseen(
    folder: Path, net: BoostFormer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, looked = [0.0], []

    def look(self: Glance, arch: Architecture) -> float:
        looked.append(arch.id)
        clock[0] += 100.0
        return 0.25

    def fail(self: Proxy, arch: Architecture) -> float:
        raise TrainingFailure("out_of_memory", "no memory left")

    monkeypatch.setattr(Glance, "__call__", look)
    monkeypatch.setattr(Proxy, "seconds_per_step", fail)
    monkeypatch.setattr("search.cli.screening.time.monotonic", lambda: clock[0])
    this = screened(opened(folder), trials=3, hours=1)
    said = capsys.readouterr().err
    assert "before any is trained longer: for a time that is unknown (out_of_memory" in said
    assert len(looked) == 4 and "4 networks seen, up to a mIoU of 25.0%" in said
    assert {arch.id for arch in this.experiment.asked_first} <= set(looked)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("params: 70%", "params: 100%", "the start is within the budgets itself"),
        (
            "params: 70%",
            "latency_ms: 9000",
            "latency is only known once it is measured, so which networks are within the budgets is not",
        ),
    ],
)
def test_where_it_is_needless_that_is_said(
    here: Path,
    net: BoostFormer,
    looks: list[str],
    capsys: pytest.CaptureFixture[str],
    old: str,
    new: str,
    reason: str,
) -> None:
    text = SCREEN.replace(old, new) + ("latency: {device: host}\n" if "latency" in new else "")
    this = opened(here, text)
    assert screened(this, trials=3) is this and not looks
    assert f"screen   not done: {reason}\n" in capsys.readouterr().err


def test_a_space_without_the_start_is_screened_also_where_all_of_it_fits(folder: Path, looks: list[str]) -> None:
    """The network of the space that is most like the start is within the budgets, but it is another."""
    wide = by_size()[-1]
    deeper = replace(wide, stages=(*wide.stages[:3], replace(wide.stages[3], depth=3)))
    BoostFormer(deeper).save_pretrained(folder / "net")
    assert screened(opened(folder, SCREEN.replace("70%", "99%")), trials=3).experiment.screened and looks


@pytest.mark.slow
def test_a_search_screens_once(folder: Path, net: BoostFormer, run_cli: Cli) -> None:
    write(folder, SCREEN.replace("iterations: 10", "iterations: 1"))
    done = run_cli("search", "run.yaml", "--out", "run", "--trials", 2, "--workers", 1, cwd=folder)
    assert done.returncode == 0, done.stderr
    first = [arch.id for arch in read_experiment(folder / "run").asked_first]
    assert [trial.id for trial in read_run(folder / "run").trials] == first[:2] and "networks screened" in done.stderr
    for again in (["search", "run.yaml", "--out", "run"], ["search", "--resume", "run"]):
        more = run_cli(*again, "--trials", 3, "--workers", 1, cwd=folder)
        assert more.returncode == 0 and "screened" not in more.stderr, more.stderr
    assert len(read_run(folder / "run").trials) == 3
    other = run_cli("search", write(folder, SCREEN.replace("screen: 6", "screen: 7")), "--out", "run", cwd=folder)
    assert other.returncode == 2 and "search.screen is 6 there, 7 here" in other.stderr


def test_before_it_costs_time_the_place_is_looked_at(
    folder: Path, net: BoostFormer, looks: list[str], run_cli: Cli
) -> None:
    write(folder, SCREEN)
    (folder / "taken").mkdir()
    (folder / "taken" / "thesis.txt").touch()
    done = run_cli("search", "run.yaml", "--out", "taken", "--workers", 0, cwd=folder)
    assert done.returncode == 2 and "not a run directory, and not empty" in done.stderr
    assert "screen" not in done.stderr


def test_a_stop_says_that_nothing_has_begun(
    folder: Path, net: BoostFormer, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Glance, arch: Architecture) -> float:
        raise KeyboardInterrupt

    write(folder, SCREEN)
    with monkeypatch.context() as patched:
        patched.setattr(Glance, "__call__", stop)
        done = run_cli("search", "run.yaml", "--out", "run", "--workers", 0, cwd=folder)
    assert done.returncode == 130
    assert done.stderr.endswith("stopped before the search began; the same command begins it anew\n")
    assert not is_run(folder / "run")
    monkeypatch.setattr(Glance, "__call__", lambda self, arch: 0.5)
    again = run_cli("search", "run.yaml", "--out", "run", "--workers", 0, cwd=folder)
    assert again.returncode == 0 and "networks screened" in again.stderr, again.stderr
