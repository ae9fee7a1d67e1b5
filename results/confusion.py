"""Confusion matrices as files: counts for a spreadsheet, or a picture of the shares of each row."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from boostformer.errors import UserError
from boostformer.files import replacing
from boostformer.shown import csv_cell

SUFFIXES = (".csv", ".png")
MOST_WRITTEN = 15
"""Most classes whose shares are written into the picture; for more there is no room."""


def check_confusion_file(file: Path) -> None:
    """Raise :class:`UserError` unless ``file`` ends in one of :data:`SUFFIXES`."""
    if file.suffix.lower() not in SUFFIXES:
        raise UserError(f"{file}: cannot write a confusion matrix as '{file.suffix}'; allowed: {', '.join(SUFFIXES)}")


def write_confusion(file: Path, counts: Sequence[Sequence[int]], names: Sequence[str]) -> None:
    """Write counts of pixels by class (row) and prediction (column), whole or not at all.

    A picture shows the share of each class's pixels that went to each prediction; a class that labels do not have stays
    blank.

    Args:
        file: ends in .csv or .png.
        counts: the matrix.
        names: of its rows and columns.

    Raises:
        UserError: the suffix is another, or ``file`` cannot be written.
    """
    check_confusion_file(file)
    with replacing(file, parents=True) as part:
        if file.suffix.lower() == ".png":
            _draw(part, counts, names)
            return
        with part.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["label \\ prediction", *map(csv_cell, names)])
            writer.writerows([csv_cell(name), *row] for name, row in zip(names, counts, strict=True))


def _draw(file: Path, counts: Sequence[Sequence[int]], names: Sequence[str]) -> None:
    import numpy as np
    from matplotlib.figure import Figure

    matrix = np.array(counts, float)
    sums = matrix.sum(1, keepdims=True)
    shares = np.divide(matrix, sums, out=np.full_like(matrix, np.nan), where=sums > 0)
    side = 3 + 0.32 * max(6, len(names)) if len(names) <= 2 * MOST_WRITTEN else 3 + 0.14 * len(names)
    figure = Figure(figsize=(side + 1, side), dpi=120, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    for tick in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        tick.set_parse_math(False)  # names come from users: a '$' in them starts no formula
    axes.tick_params(labelsize=8 if len(names) <= 2 * MOST_WRITTEN else 5)
    axes.set_xlabel("prediction")
    axes.set_ylabel("label")
    if len(names) <= MOST_WRITTEN:
        for (row, column), share in np.ndenumerate(shares):
            if not np.isnan(share):
                colour = "white" if share > 0.5 else "black"
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=7)
    figure.colorbar(image, label="share of the class's pixels", shrink=0.8)
    figure.savefig(file, format="png")
