"""The front as a picture in a file: mIoU against each cost, as PNG or as self-contained HTML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from boostformer.errors import UserError
from boostformer.files import replacing
from results.report.picture import Picture, Reference
from results.trial import Trial


def plot_front(
    trials: Sequence[Trial],
    front: Sequence[Trial],
    references: Sequence[Reference],
    objectives: Sequence[str],
    path: Path | str,
    *,
    title: str = "Pareto front",
) -> None:
    """Draws mIoU (%) against params, MACs and, where all have one, latency into ``path`` (.png or .html).

    Every finished feasible network is a faint dot, fainter where it was trained shorter than the front; the ``front``
    is drawn over them with its spread over seeds and, in each panel, the step line of the best mIoU at up to that cost.
    ``references`` are networks to compare with: dicts with ``name``, ``params``, ``macs`` and optionally ``latency_ms``
    and ``miou`` (0…1); without ``miou`` a dashed line stands at their cost. ``title`` names the run and its data. The
    file appears whole or not at all.

    Raises :class:`UserError` for another suffix, when there is nothing to draw, or when ``path`` cannot be
    written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".png", ".html"):
        raise UserError(f"{path}: cannot plot to '{path.suffix}'; allowed: .png, .html")
    picture = Picture.of(trials, front, references, objectives, title)
    if not picture.dots:
        raise UserError(f"{path}: nothing to plot, no finished trial fits the budgets")
    # The libraries are slow to import, and only the one that is needed is.
    if suffix == ".png":
        from results.report.draw_png import png as draw
    else:
        from results.report.draw_html import html as draw
    content = draw(picture)
    with replacing(path) as part:
        part.write_bytes(content)
