"""Recipes of training as data, their learning-rate schedule and parameter groups.

Torch-free, so that reading a run file stays quick.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, model_validator

from boostformer.data.variation import Variation
from boostformer.training.distillation_config import DistillationConfig
from boostformer.training.loss_config import LossConfig

if TYPE_CHECKING:
    from torch import nn

WARMUP_START = 1e-6

Schedule = Literal["poly", "cosine", "wsd"]
"""Fall of the rate after the warm-up: all the way, or stable at first and then linear (warm-up, stable, decay)."""


class Recipe(Variation):
    """AdamW with linear warm-up, then decay to 0; the defaults are SegFormer's (NVlabs), as far as they go.

    ``batch_size`` is of all processes together. The same recipe, data, network and number of threads give the same
    weights. With schedule "wsd" the first ``trunk`` iterations are those of every longer training too, which can go on
    from there (Hu et al., "MiniCPM", 2024; Hägele et al., "Scaling laws and compute-optimal training beyond fixed
    training durations", 2024).
    """

    iterations: int = Field(default=160_000, ge=1)
    batch_size: int = Field(default=16, ge=2)  # BatchNorm knows no variance of a lone image's 1x1 map
    lr: float = Field(default=6e-5, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0.01, ge=0)
    decoder_lr_factor: float = Field(default=10.0, gt=0, description="the decoder's learning rate over the encoder's")
    warmup_iterations: int = Field(default=1500, ge=0)
    schedule: Schedule = "poly"
    power: float = Field(default=1.0, gt=0, description="of the polynomial decay")
    decay: float = Field(default=0.2, gt=0, le=1, description="share of the iterations that 'wsd' lets the rate fall")
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    clip_norm: float | None = Field(default=None, gt=0, description="largest norm of all gradients together")
    loss: LossConfig = LossConfig()
    distillation: DistillationConfig = DistillationConfig()
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    save_every: int = Field(default=1000, ge=1, description="iterations between resumable states")
    validate_every: int | None = Field(
        None,
        ge=0,
        description="iterations between validations on the way; 0 for none, by default only commands have any",
    )
    patience: int | None = Field(None, ge=1, description="validations without a better one after which it ends early")
    ema: float = Field(
        default=0.0, ge=0, lt=1, description="decay of the moving average of the weights, which is saved; 0 for none"
    )
    accumulate: int = Field(default=1, ge=1, description="parts in which a batch is computed one after the other")
    compile: bool = Field(default=False, description="train what torch.compile makes of the network")
    graph: bool = Field(default=True, description="replay the network's kernels as a CUDA graph, on one GPU")
    gradient_checkpointing: bool = Field(
        default=False, description="keep each stage's input alone for the gradient: slower, in less memory"
    )
    workers: int | None = Field(None, ge=0, description="loading processes; by default 0 on a CPU, else up to 8")
    threads: int | None = Field(None, ge=1, description="CPU threads; by default as many as pay, which is measured")

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.warmup_iterations >= self.iterations:
            raise ValueError(
                f"warmup_iterations ({self.warmup_iterations}) must be below iterations ({self.iterations})"
            )
        if self.schedule == "wsd" and self.warmup_iterations > self.trunk:
            raise ValueError(
                f"warmup_iterations ({self.warmup_iterations}) must be over before the decay begins, after {self.trunk}"
            )
        self._check_watching()
        self._check_saving()
        return self

    def _check_watching(self) -> None:
        if self.patience is not None and self.validate_every == 0:
            raise ValueError("patience counts validations on the way, but validate_every is 0: there are none")
        if self.patience is not None and self.schedule == "wsd":
            raise ValueError("patience may end a training before its rate falls, without which 'wsd' is worth little")

    def _check_saving(self) -> None:
        if self.batch_size % self.accumulate or self.batch_size < 2 * self.accumulate:
            raise ValueError(
                f"accumulate ({self.accumulate}) must divide batch_size ({self.batch_size}) into parts of 2 or more"
            )
        whole = [name for name in ("dice", "lovasz") if getattr(self.loss, name)]
        whole += ["hardest"] if self.loss.hardest < 1 else []
        if self.accumulate > 1 and whole:
            raise ValueError(
                f"accumulate must be 1: loss.{whole[0]} is of a batch as a whole, not a sum over its parts"
            )
        if self.compile and self.gradient_checkpointing:
            raise ValueError(
                "compile decides by itself what is kept for the gradient: gradient_checkpointing must be false"
            )

    def unusual(self, taught: bool = False) -> dict[str, Any]:
        """Give the settings, by dotted names, that are not the usual ones: other losses, say.

        Those of distillation mean something only in a training that is ``taught``.
        """
        included = {"loss", "distillation"} if taught else {"loss"}
        groups = self.model_dump(mode="json", include=included, exclude_defaults=True)
        found = {f"{group}.{key}": value for group, values in groups.items() for key, value in values.items()}
        return found | ({"ema": self.ema} if self.ema else {})

    @property
    def trunk(self) -> int:
        """Number of iterations that are the same whatever the length of the training."""
        if self.schedule != "wsd":
            return 0
        return self.iterations - max(1, round(self.decay * self.iterations))

    @property
    def validations(self) -> int:
        """Number of validations on the way, that at the end aside."""
        return (self.iterations - 1) // self.validate_every if self.validate_every else 0

    def dependencies(self, iteration: int) -> dict[str, Any]:
        """Collect what the first ``iteration`` iterations depend on, as plain values."""
        length = {"iterations", "decay"} if iteration <= self.trunk else set()
        watching = {"validate_every", "patience", "save_every"}
        return self.model_dump(mode="json", exclude=watching | {"workers", "threads", "graph"} | length)

    def lr_factor(self, iteration: int) -> float:
        """Compute the factor of every group's learning rate at ``iteration`` (0…iterations-1)."""
        if iteration < self.warmup_iterations:
            return WARMUP_START + (1 - WARMUP_START) * iteration / self.warmup_iterations
        if self.schedule == "wsd":
            return min(1.0, (self.iterations - iteration) / (self.iterations - self.trunk))
        done = (iteration - self.warmup_iterations) / (self.iterations - self.warmup_iterations)
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        return (1 - done) ** self.power


class PretrainRecipe(Recipe):
    """Pre-training an encoder as a classifier: the publication's, on Tiny-ImageNet.

    Of the variation only ``flip`` is used here. 300 epochs of 100,000 images at batch 512, 5 of them warm-up.
    """

    iterations: int = Field(default=300 * 100_000 // 512, ge=1)
    batch_size: int = Field(default=512, ge=2)
    lr: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    decoder_lr_factor: float = Field(default=1.0, gt=0)
    warmup_iterations: int = Field(default=5 * 100_000 // 512, ge=0)
    schedule: Schedule = "cosine"
    magnitude: int = Field(default=9, ge=0, le=10, description="of RandAugment")
    mixup: float = Field(default=0.8, ge=0, description="alpha of the Beta distribution; 0 turns it off")
    cutmix: float = Field(default=1.0, ge=0, description="alpha of the Beta distribution; 0 turns it off")
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    random_erasing: float = Field(default=0.25, ge=0, le=1, description="probability")

    def _check_watching(self) -> None:
        if self.validate_every or self.patience is not None:
            raise ValueError("validate_every, patience: pre-training is scored at its end alone")


def with_changes(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """Give ``recipe`` with ``changes``, of which mappings change single values of a group; pydantic's error if illegal.

    A changed number of iterations keeps the share of warm-up, and a changed batch in pre-training the ratio of learning
    rate to batch, unless those are changed too.
    """
    changes = dict(changes)
    for group in (key for key, value in changes.items() if isinstance(value, dict)):
        before = getattr(recipe, group, None)
        if isinstance(before, BaseModel):
            changes[group] = before.model_dump() | changes[group]
    iterations, batch_size = changes.get("iterations"), changes.get("batch_size")
    if isinstance(iterations, int) and "warmup_iterations" not in changes:
        changes["warmup_iterations"] = recipe.warmup_iterations * iterations // recipe.iterations
    if isinstance(recipe, PretrainRecipe) and isinstance(batch_size, int) and "lr" not in changes:
        changes["lr"] = recipe.lr * batch_size / recipe.batch_size
    return type(recipe)(**(recipe.model_dump() | changes))


_FAST = ("decoder.", "network.decoder.", "heads.", "adapters.")
"""Beginnings of the names of what learns as the decoder does: parts that exist in training alone, too."""


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Divide the trainable parameters into AdamW's groups, with ``name``, ``lr``, ``base_lr`` and ``weight_decay``.

    ``decoder.*`` learns ``decoder_lr_factor`` times as fast. No decay on vectors and scalars (norms,
    biases, LayerScale) and on what a block names in its ``no_decay``.
    """
    from boostformer.blocks.block import Block  # which loads torch

    undecayed = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if isinstance(module, Block)
        for name in module.no_decay
    }
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = "decoder" if name.startswith(_FAST) else "encoder"
        decayed = parameter.ndim > 1 and name not in undecayed
        lr = recipe.lr * (recipe.decoder_lr_factor if part == "decoder" else 1.0)
        group = groups.setdefault(
            f"{part}, {'decay' if decayed else 'no decay'}",
            {"params": [], "lr": lr, "base_lr": lr, "weight_decay": recipe.weight_decay if decayed else 0.0},
        )
        group["params"].append(parameter)
    return [{"name": name, **group} for name, group in groups.items()]
