"""BoostFormer: lightweight networks for semantic segmentation, built from declared blocks.

This room is usable alone, without any search. Names below are imported when first used, so
that reading results or an :class:`Architecture` never loads torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_LAZY = {
    "Architecture": "boostformer.architecture",
    "BlockSpec": "boostformer.architecture",
    "Decoder": "boostformer.architecture",
    "Stage": "boostformer.architecture",
    "UserError": "boostformer.errors",
    "BoostFormer": "boostformer.model",
    "Classifier": "boostformer.model",
    "build": "boostformer.model",
    "import_checkpoint": "boostformer.model",
}

if TYPE_CHECKING:
    from boostformer.architecture import Architecture, BlockSpec, Decoder, Stage
    from boostformer.errors import UserError
    from boostformer.model import BoostFormer, Classifier, build, import_checkpoint

__all__ = [
    "Architecture",
    "BlockSpec",
    "BoostFormer",
    "Classifier",
    "Decoder",
    "Stage",
    "UserError",
    "build",
    "import_checkpoint",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'boostformer' has no attribute '{name}'")
    return getattr(importlib.import_module(_LAZY[name]), name)
