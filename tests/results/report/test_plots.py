"""Plots: whole files, the right content behind the HTML, and refusals that leave nothing behind."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from result_factories import make_latency, make_trial

from boostformer.errors import UserError
from results.pareto import front
from results.report.picture import AXES, Picture, ticks
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


def figures_of(page: str) -> list[tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]]:
    """The traces, the layout and the configuration of each plotly figure in a page."""
    decoder, found = json.JSONDecoder(), []
    place = page.find("Plotly.newPlot(", page.index("<body>"))
    while place > 0:
        traces, end = decoder.raw_decode(page, page.index("[", place))
        layout, end = decoder.raw_decode(page, page.index("{", end))
        config, end = decoder.raw_decode(page, page.index("{", end))
        found.append((traces, layout, config))
        place = page.find("Plotly.newPlot(", end)
    return found


def test_html_is_self_contained_and_tells_all_on_hovering(tmp_path: Path) -> None:
    page = draw(tmp_path / "front.html", title="<b>run</b>").read_text(encoding="utf-8")
    assert "<script src=" not in page and 1_000_000 < len(page.encode()) < 5_500_000  # plotly itself is inside
    figures = figures_of(page)
    drawn = [trace for traces, _, _ in figures for trace in traces if trace["name"] == "Pareto front"]
    assert [trace["x"] for trace in drawn] == [[1.0, 2.0, 3.0], [0.9, 0.5, 0.3]]
    assert [trace["y"] for trace in drawn] == [pytest.approx([30, 40, 35])] * 2
    hover = drawn[0]["text"][1]
    for part in (
        "trial 1",
        TRIALS[1].id,
        "40.00 %",
        "2.000 M",
        "0.500 G",
        "overlap_conv/efficient_attention",
    ):
        assert part in hover
    assert page.count("&lt;b&gt;run&lt;/b&gt;") == 2 and "<b>run</b>" not in page
    lines = [[t["x"][0] for t in traces if t["name"] == "<Seg>$Former$"] for traces, _, _ in figures]
    assert lines == [[3.7], [1.0]]
    notes = {note["text"]: note["x"] for note in figures[0][1]["annotations"]}
    assert notes["&lt;Seg&gt;$Former$"] == pytest.approx(math.log10(3.7))


def test_html_is_readable_on_a_phone_and_uploads_nothing(tmp_path: Path) -> None:
    page = draw(tmp_path / "front.html", budgets={"params": 3_000_000, "macs": 10**12}).read_text(encoding="utf-8")
    body = page[page.index("<body>") :]
    assert '<meta name="viewport" content="width=device-width' in page and "<title>Pareto front</title>" in page
    assert "Budgets: params at most 3.000 M, macs at most 1000.000 G" in body
    for name in ("Pareto front", "budget", "&lt;Seg&gt;$Former$", "Measured"):
        assert f'data-name="{name}"' in body
    for traces, layout, config in figures_of(page):
        assert config["showSendToCloud"] is False and config["responsive"] is True
        assert {"width", "title"}.isdisjoint(layout)  # as wide as there is room; the heading is the page's
        low, high = (10**end for end in layout["xaxis"]["range"])
        assert all(low <= x <= high for trace in traces for x in trace["x"])
        assert all(layout["yaxis"]["range"][0] <= y <= layout["yaxis"]["range"][1] for t in traces for y in t["y"])
        shown = layout["xaxis"]["ticktext"]
        assert len(shown) >= 4 and [float(text) for text in shown] == layout["xaxis"]["tickvals"]
    # A budget a thousand times what the networks cost would squeeze them together.
    assert [any(t["name"] == "budget" for t in traces) for traces, _, _ in figures_of(page)] == [True, False]


@pytest.mark.parametrize(
    ("low", "high"), [(0.04, 0.06), (0.98, 1.03), (5.05, 5.1), (3, 80), (1e-4, 1e4), (0.0098, 0.146)]
)
def test_an_axis_has_some_round_ticks(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 4 <= len(found) <= 16 and low <= found[0] and found[-1] <= high and found == sorted(set(found))
    assert all(len(f"{value:g}") <= 7 for value in found)


def test_refusals_leave_no_file_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot plot to '\.pdf'; allowed: \.png, \.html"):
        draw(tmp_path / "front.pdf")
    with pytest.raises(UserError, match="nothing to plot"):
        draw(tmp_path / "front.png", trials=TRIALS[4:])
    with pytest.raises(UserError, match=r"missing/front\.png: cannot be written: No such file or directory"):
        draw(tmp_path / "missing" / "front.png")
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(UserError, match=r"taken\.png: cannot be written"):
        draw(tmp_path / "taken.png")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]
