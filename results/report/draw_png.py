"""Matplotlib drawing of the front."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, StrMethodFormatter

from results.report.picture import (
    BUDGET_COLOUR,
    FRONT_COLOUR,
    OTHER_COLOUR,
    REFERENCE_COLOUR,
    Axis,
    Picture,
    Reference,
    percent,
    spread,
)
from results.trial import COUNTED, Trial


def png(picture: Picture) -> bytes:
    figure = Figure(figsize=(6.4 * len(picture.axes), 5.6), dpi=150, layout="constrained")
    # Titles and names come from users: a '$' in them starts no formula.
    about = ". ".join(picture.notes()[:2])
    figure.suptitle(f"{picture.title}\n{about}", fontsize=11, parse_math=False)
    panels = figure.subplots(1, len(picture.axes), sharey=True, squeeze=False)[0]
    for panel, axis in zip(panels, picture.axes, strict=True):
        _draw_trials(panel, axis, picture)
        for reference in picture.references:
            _draw_reference(panel, axis, reference)
        if (limit := picture.budget(axis)) is not None:
            panel.axvline(limit, color=BUDGET_COLOUR, lw=1.2, ls=":", label="budget")
        _style(panel, axis)
    panels[0].set_ylabel("mIoU (%)")
    unique: dict[str, Any] = {}
    for panel in panels:  # a budget may be in one of them alone
        handles, labels = panel.get_legend_handles_labels()
        unique |= dict(zip(labels, handles, strict=True))
    columns = len(unique) if len(unique) <= 5 else (len(unique) + 1) // 2  # more do not fit into one line
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=columns, frameon=False)
    if note := picture.latency_note():
        panels[-1].set_title(note, loc="right", fontsize=8, color="0.35", parse_math=False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _draw_trials(panel: Axes, axis: Axis, picture: Picture) -> None:
    others, shorter = picture.others(), picture.shorter
    front = picture.front

    def dots(trials: Sequence[Trial], label: str, colour: str, **style: Any) -> None:
        panel.plot(axis.values(trials), percent(trials), "o", label=label, color=colour, **style)

    if shorter:
        dots(shorter, picture.lengths(), OTHER_COLOUR, alpha=0.3, ms=3.5, mfc="none")
    dots(others, "within budget", OTHER_COLOUR, alpha=0.5, ms=5, mew=0)
    if not front:
        return
    dots(front, "Pareto front", FRONT_COLOUR, ms=6.5, mec="white")
    if any(deviations := spread(front)):
        panel.errorbar(
            axis.values(front),
            percent(front),
            deviations,
            fmt="none",
            ecolor=FRONT_COLOUR,
            elinewidth=1,
            alpha=0.5,
            label="spread over seeds",
        )
    steps = picture.staircase(axis)
    panel.step(
        axis.values(steps),
        percent(steps),
        where="post",
        color=FRONT_COLOUR,
        lw=1.3,
        alpha=0.7,
        zorder=1.5,
        label="best mIoU up to this cost (labels: trial)",
    )
    for trial, x, y in zip(steps, axis.values(steps), percent(steps), strict=True):
        place: dict[str, Any] = {"xytext": (-4, 4), "textcoords": "offset points", "ha": "right"}
        panel.annotate(str(trial.number), (x, y), fontsize=7.5, color=FRONT_COLOUR, **place)


def _draw_reference(panel: Axes, axis: Axis, reference: Reference) -> None:
    cost, miou = axis.of(reference), reference.get("miou")
    if cost is None:
        return
    style: dict[str, Any] = {
        "color": REFERENCE_COLOUR,
        "fontsize": 8.5,
        "textcoords": "offset points",
        "parse_math": False,
        "bbox": {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
    }
    if miou is None:
        # The line crosses the whole panel; its name stands at the panel's foot, along the line.
        panel.axvline(cost, color=REFERENCE_COLOUR, lw=1.1, ls="--", alpha=0.8, zorder=1, label="cost of a reference")
        foot: dict[str, Any] = {
            "xycoords": panel.get_xaxis_transform(),
            "rotation": 90,
            "ha": "right",
            "va": "bottom",
        }
        panel.annotate(reference["name"], (cost, 0), xytext=(-3, 6), **foot, **style)
    else:
        panel.plot([cost], [100 * miou], "D", color=REFERENCE_COLOUR, ms=7.5, mec="white", label="reference")
        panel.annotate(reference["name"], (cost, 100 * miou), xytext=(0, -9), ha="center", va="top", **style)


def _style(panel: Axes, axis: Axis) -> None:
    panel.set_xscale("log")
    is_count = axis.cost.name in COUNTED
    panel.set_xlabel(f"{axis.label.partition(' (')[0] if is_count else axis.label}, log scale")
    low, high = panel.get_xlim()
    # Within one decade the powers of ten alone would leave the axis all but unlabelled.
    subs = (1, 2, 5) if high / low > 8 else (1, 1.5, 2, 3, 4, 5, 6, 8)
    panel.xaxis.set_major_locator(LogLocator(subs=subs))
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    if is_count:  # 800 k, not 0.0008 G
        counts = EngFormatter()
        panel.xaxis.set_major_formatter(lambda value, _: counts.format_eng(value * axis.cost.unit))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.margins(x=0.08, y=0.09)
    panel.grid(True, which="major", color="0.9", lw=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
