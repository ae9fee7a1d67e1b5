"""Curves of a training as a picture: loss and learning rate above, scores of the validations below."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.history import Row, pairs_of
from results.report.picture import FRONT_COLOUR, OTHER_COLOUR, REFERENCE_COLOUR


def draw_curves(rows: Sequence[Row], title: str) -> bytes:
    """Draw a training's history, at least one row, as a PNG."""
    listed = list(rows)
    figure = Figure(figsize=(7.2, 6.0), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=11, parse_math=False)
    above, below = figure.subplots(2, 1, sharex=True)
    _curve(above, pairs_of(listed, "loss"), "loss (running mean)", FRONT_COLOUR)
    above.set_ylabel("loss")
    if rates := pairs_of(listed, "lr"):
        beside = above.twinx()
        _curve(beside, rates, "learning rate", OTHER_COLOUR, style="--")
        beside.set_ylabel("learning rate")
        beside.spines[["top"]].set_visible(False)
        above.legend(handles=[*above.lines, *beside.lines], frameon=False, loc="upper right")
    _curve(below, pairs_of(listed, "miou", 100), "mIoU", FRONT_COLOUR, marker="o")
    _curve(below, pairs_of(listed, "accuracy", 100), "pixel accuracy", REFERENCE_COLOUR, marker="s")
    below.set_ylabel("on the validation images (%)")
    below.set_xlabel("iterations")
    below.legend(frameon=False)
    for panel in (above, below):
        panel.grid(True, color="0.9", lw=0.8)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _curve(
    panel: Axes, pairs: Sequence[tuple[float, float]], label: str, colour: str, style: str = "-", marker: str = ""
) -> None:
    """Draw one curve.

    Args:
        panel: to draw in.
        pairs: iteration and value.
        label: for the legend.
        colour: of the line.
        style: of the line, as matplotlib has it.
        marker: of each point.
    """
    x, y = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    panel.plot(x, y, style, marker=marker, ms=4, lw=1.5, color=colour, label=label)
