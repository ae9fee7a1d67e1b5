"""A picture of the front: mIoU against each cost, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    budgets: Mapping[str, float] | None = None,
) -> None:
    """Draw mIoU (%) against params, MACs and, where all have one, latency.

    Every finished feasible network is a faint dot, fainter where it was trained shorter than the front. The front is
    drawn over them with its spread over seeds and, in each panel, the step line of the best mIoU at up to that cost and
    the budget, where it is near the networks.
    The file is written whole or not at all.

    Args:
        trials: all trials of the run.
        front: those on the front.
        references: networks to compare with: ``name``, ``params``, ``macs``, optionally ``latency_ms`` and ``miou``
            (0…1). Without ``miou`` a dashed line stands at their cost.
        objectives: names, in the run's order.
        path: file that ends in .png.
        title: names the run and its data.
        budgets: limits by the cost's name.

    Raises:
        UserError: the suffix is another, there is nothing to draw, or ``path`` cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: cannot plot to '{path.suffix}'; allowed: .png (`boostformer report` writes a page)")
    picture = Picture.of(trials, front, references, objectives, title, budgets)
    if not picture.dots:
        raise UserError(f"{path}: nothing to plot, no finished trial fits the budgets")
    from results.report.draw_png import png as draw  # not before: matplotlib is slow to import

    content = draw(picture)
    with replacing(path) as part:
        part.write_bytes(content)
