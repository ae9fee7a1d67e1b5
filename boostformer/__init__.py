"""BoostFormer: lightweight networks for semantic segmentation, built from declared blocks.

This room is usable alone, without any search. Names below are imported when first used, so that reading results or an
:class:`Architecture` never loads torch. It is the front door as well: a few names of the rooms above are found here, so
that nobody needs to import a package of as common a name as ``results``.
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
_ABOVE = {
    "open_run": ("results.run", "read_run"),
    "open_runs": ("results.together", "load"),
    "to_frame": ("results.tables", "to_frame"),
    "read_space": ("search_space.reader", "read_space"),
}
"""Names of the rooms above, which nothing in this room uses: the module, and the name there."""

if TYPE_CHECKING:
    from boostformer.architecture import Architecture, BlockSpec, Decoder, Stage
    from boostformer.errors import UserError
    from boostformer.model import BoostFormer, Classifier, build, import_checkpoint

__all__ = [  # noqa: F822  (of some of them type checkers know nothing)
    "Architecture",
    "BlockSpec",
    "BoostFormer",
    "Classifier",
    "Decoder",
    "Stage",
    "UserError",
    "build",
    "import_checkpoint",
    "open_run",
    "open_runs",
    "read_space",
    "to_frame",
]


def __getattr__(name: str) -> Any:
    if name in _ABOVE:
        from boostformer.rooms import open_rooms

        open_rooms()
        module, own = _ABOVE[name]
        return getattr(importlib.import_module(module), own)
    if name not in _LAZY:
        raise AttributeError(f"module 'boostformer' has no attribute '{name}'")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(["__version__", *__all__])
