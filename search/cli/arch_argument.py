"""``ARCH`` on the command line: a preset's name, an architecture file, a checkpoint folder, or RUN_DIR:TRIAL."""

from __future__ import annotations

from pathlib import Path

from boostformer.architecture import Architecture
from boostformer.blocks.registry import complete
from boostformer.files import is_file
from boostformer.weights import checkpoint
from search.config.named import read_architecture, trial_named

__all__ = ["at_size", "is_checkpoint", "read_architecture", "trial_named"]


def is_checkpoint(text: str) -> bool:
    """Tell whether ``text`` names a checkpoint, so that there are weights beside the architecture."""
    return is_file(Path(text) / checkpoint.CONFIG)


def at_size(architecture: Architecture, size: tuple[int, int] | None) -> Architecture:
    """Return the same network for ``--size``; :class:`UserError` when one of its blocks does not allow that size."""
    return complete(architecture.replace(size=size), "--size") if size else architecture
