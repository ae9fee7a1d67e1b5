"""Plots: whole files, the right content behind the HTML, and refusals that leave nothing behind."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from result_factories import make_latency, make_trial

from boostformer.errors import UserError
from results.pareto import front
from results.report import draw_png
from results.report.picture import AXES, Picture
from results.report.plots import plot_front
from results.trial import Status, Trial

OBJECTIVES = ["miou", "macs", "params"]
TRIALS = [
    make_trial(0, miou=0.30, params=1_000_000, macs=900_000_000),
    make_trial(1, miou=0.40, params=2_000_000, macs=500_000_000),
    make_trial(2, miou=0.35, params=3_000_000, macs=300_000_000),
    make_trial(3, miou=0.20, params=2_500_000, macs=950_000_000),
    make_trial(4, miou=0.90, params=900_000, macs=1, feasible=False),
    make_trial(5, miou=None, status=Status.FAILED, reason="nan"),
    make_trial(6, miou=math.nan),
]
REFERENCES = [
    {"name": "<Seg>$Former$", "params": 3_700_000, "macs": 1_000_000_000, "miou": None},
    {"name": "Measured", "params": 3_000_000, "macs": 700_000_000, "miou": 0.38},
]


def draw(path: Path, trials: list[Trial] = TRIALS, **options: Any) -> Path:
    plot_front(trials, front(trials, OBJECTIVES), REFERENCES, OBJECTIVES, path, **options)
    return path


def picture(trials: list[Trial], objectives: list[str] = OBJECTIVES) -> Picture:
    return Picture.of(trials, front(trials, objectives), [], objectives, "a run")


def test_only_finished_feasible_trials_are_drawn_and_the_front_once() -> None:
    drawn = picture(TRIALS)
    assert [trial.number for trial in drawn.dots] == [0, 1, 2, 3]
    assert [trial.number for trial in drawn.front] == [0, 1, 2]
    assert [trial.number for trial in drawn.others()] == [3]
    assert [axis.cost.name for axis in drawn.axes] == ["params", "macs"]


def test_each_panel_has_its_own_staircase() -> None:
    drawn = picture(TRIALS)
    assert [trial.number for trial in drawn.staircase(AXES[0])] == [0, 1]
    assert [trial.number for trial in drawn.staircase(AXES[1])] == [2, 1]


def test_latency_is_drawn_with_its_provenance_when_all_have_one() -> None:
    timed = [make_trial(i, latency=make_latency(5.0 + i, "host")) for i in range(3)]
    assert [axis.cost.name for axis in picture(timed).axes] == ["params", "macs", "latency_ms"]
    assert picture(timed).latency_note() == "Latency: measured: trtexec 8.2, host, fp16, batch 1"
    assert picture(TRIALS).latency_note() == ""


def test_png_shows_something(tmp_path: Path) -> None:
    image = imread(draw(tmp_path / "front.PNG", title="camvid, $space$"))
    assert image.shape[0] > 500 and image.shape[1] > 1000
    shades = np.unique(image[::4, ::4].reshape(-1, image.shape[-1]), axis=0)
    assert len(shades) > 50
    assert [path.name for path in tmp_path.iterdir()] == ["front.PNG"]


def test_costs_are_written_in_the_unit_that_fits_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(draw_png, "Figure", lambda **how: drawn.append(Figure(**how)) or drawn[-1])
    small = [make_trial(i, miou=0.3 + i / 10, params=20_000 + 9_000 * i, macs=800_000 + 700_000 * i) for i in range(3)]
    draw(tmp_path / "front.png", small)
    params, macs = drawn[0].axes[:2]
    assert (params.get_xlabel(), macs.get_xlabel()) == ("Parameters, log scale", "Multiply-adds, log scale")
    told = [[label.get_text() for label in panel.get_xticklabels()] for panel in (params, macs)]
    assert {"20 k", "50 k", "1 M"} <= set(told[0]) and {"1 M", "2 M", "1 G"} <= set(told[1])


def test_refusals_leave_no_file_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot plot to '\.pdf'; allowed: \.png \(`boostformer report`"):
        draw(tmp_path / "front.pdf")
    with pytest.raises(UserError, match="nothing to plot"):
        draw(tmp_path / "front.png", trials=TRIALS[4:])
    with pytest.raises(UserError, match=r"missing/front\.png: cannot be written: No such file or directory"):
        draw(tmp_path / "missing" / "front.png")
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(UserError, match=r"taken\.png: cannot be written"):
        draw(tmp_path / "taken.png")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]
