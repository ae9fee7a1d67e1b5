"""Losses of a segmentation training, as data. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class LossConfig(BaseModel):
    """A weighted sum of losses of the logits against the labels; a weight of 0 leaves one out.

    The first group is per pixel, ``cross_entropy`` and ``focal`` with the same class weights, smoothing and choice of
    pixels; the second compares regions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cross_entropy: float = Field(default=1.0, ge=0, description="weight of cross-entropy")
    focal: float = Field(default=0.0, ge=0, description="weight of focal loss (Lin et al. 2017)")
    focal_gamma: float = Field(default=2.0, ge=0, description="how much easy pixels are played down by 'focal'")
    class_weights: Literal["none", "auto"] | tuple[float, ...] = Field(
        default="none", description="none, auto (from the classes' shares of pixels), or one number per class"
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="share of each label given to all classes")
    hardest: float = Field(
        default=1.0, gt=0, le=1, description="share of pixels, those of highest loss, that count (OHEM)"
    )
    boundary: float = Field(default=0.0, ge=0, description="extra weight of pixels near another class")
    boundary_width: int = Field(default=3, ge=1, description="how near, in pixels")
    dice: float = Field(default=0.0, ge=0, description="weight of Dice loss (Milletari et al. 2016)")
    lovasz: float = Field(default=0.0, ge=0, description="weight of Lovász-softmax (Berman et al. 2018)")
    auxiliary: float = Field(
        default=0.0, ge=0, description="weight of heads on the stages, which exist in training alone"
    )
    auxiliary_stages: tuple[int, ...] = Field(default=(3,), description="stages, 1…4, that have such heads")
    resolution: Literal["label", "logits"] = Field(
        default="label", description="where losses are taken: at the labels' size, or at the logits' (a quarter)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> LossConfig:
        if not (self.cross_entropy or self.focal or self.dice or self.lovasz):
            raise ValueError("nothing is minimised: one of cross_entropy, focal, dice and lovasz must be above 0")
        if isinstance(self.class_weights, tuple) and (min(self.class_weights, default=0) < 0 or not self.class_weights):
            raise ValueError(f"class_weights must be one number from 0 per class, but got {list(self.class_weights)}")
        stages = self.auxiliary_stages
        if self.auxiliary and (not stages or len(set(stages)) < len(stages) or not set(stages) <= {1, 2, 3, 4}):
            raise ValueError(f"auxiliary_stages must be some of 1, 2, 3, 4, each once, but got {list(stages)}")
        return self
