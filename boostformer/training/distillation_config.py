"""Losses of a training with a teacher beside its labels' loss, as data. Torch-free."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class DistillationConfig(BaseModel):
    """Weights of what a student learns from a teacher; without a teacher they mean nothing.

    Everything is compared where the network has its logits (a quarter of the image), never on padding.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    logits: float = Field(default=1.0, ge=0, description="weight of each pixel's probabilities (Hinton et al. 2015)")
    temperature: float = Field(default=1.0, gt=0, description="softens these probabilities; the loss is scaled by T²")
    everywhere: bool = Field(default=True, description="learn from the teacher where labels are ignored or absent, too")
    channels: float = Field(default=0.0, ge=0, description="weight of each class's map over space (Shu et al. 2021)")
    channel_temperature: float = Field(default=4.0, gt=0, description="softens these maps")
    stages: float = Field(default=0.0, ge=0, description="weight of the stages' maps (Romero et al. 2015)")
    stage_numbers: tuple[int, ...] = Field(default=(1, 2, 3, 4), description="stages, 1…4, whose maps are compared")
    unlabelled_share: float | None = Field(
        default=None, gt=0, lt=1, description="share of images without masks; by default as many as there are"
    )

    @model_validator(mode="after")
    def _consistent(self) -> DistillationConfig:
        numbers = self.stage_numbers
        if self.stages and (not numbers or len(set(numbers)) < len(numbers) or not set(numbers) <= {1, 2, 3, 4}):
            raise ValueError(f"stage_numbers must be some of 1, 2, 3, 4, each once, but got {list(numbers)}")
        return self

    @property
    def teaches(self) -> bool:
        """Tell whether anything is learnt from a teacher."""
        return bool(self.logits or self.channels or self.stages)
