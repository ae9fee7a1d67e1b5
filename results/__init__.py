"""Results of a search: trials, the Pareto front, tables and plots. Needs no torch, so it is quick to import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from results.together import Runs


def load(*run_dirs: Path | str) -> Runs:
    """Read one run, or several to look at them together; see :func:`results.together.load`."""
    from results.together import load

    return load(*run_dirs)
