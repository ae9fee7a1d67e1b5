"""Training and scoring: recipes, the loop, metrics. Names are imported when first used.

Read ``recipes``, then ``tasks``, then ``loop``; ``threads`` chooses how many CPU threads compute, ``state`` saves and
resumes, ``failures`` recognises a useless training; ``taught`` is segmentation with a teacher.
Of scoring: ``scores``, ``bands``, ``views``, ``metrics``, ``evaluation``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boostformer.training.bands import predict_labels
    from boostformer.training.failures import TrainingFailure
    from boostformer.training.loop import TrainingReport, pretrain, train
    from boostformer.training.metrics import evaluate, top1
    from boostformer.training.recipes import PretrainRecipe, Recipe, parameter_groups
    from boostformer.training.scores import Metrics
    from boostformer.training.views import View

# Recipes alone do not need torch, and reading a run file should not wait for it.
_LAZY = {
    "TrainingFailure": "failures",
    "TrainingReport": "loop",
    "pretrain": "loop",
    "train": "loop",
    "Metrics": "scores",
    "evaluate": "metrics",
    "predict_labels": "bands",
    "top1": "metrics",
    "View": "views",
    "PretrainRecipe": "recipes",
    "Recipe": "recipes",
    "parameter_groups": "recipes",
}

__all__ = [
    "Metrics",
    "PretrainRecipe",
    "Recipe",
    "TrainingFailure",
    "TrainingReport",
    "View",
    "evaluate",
    "parameter_groups",
    "predict_labels",
    "pretrain",
    "top1",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'boostformer.training' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
