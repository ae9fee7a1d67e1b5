"""Random variation of training images: the part of a recipe that the augmentation reads, as a typed model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, model_validator

_SIDED = re.compile(r"(^|_)(left|right)", re.IGNORECASE)


class Variation(BaseModel):
    """Random resizing, flips, turns and colours of training images; the defaults are SegFormer's (NVlabs)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: tuple[float, float] = Field(default=(0.5, 2.0), description="range of the random resizing")
    flip: float = Field(default=0.5, ge=0, le=1, description="probability that left and right are swapped")
    vertical_flip: float = Field(default=0.0, ge=0, le=1, description="probability that top and bottom are swapped")
    quarter_turns: bool = Field(default=False, description="turn by 0, 90, 180 or 270 degrees: images from above")
    rotate: float = Field(default=0.0, ge=0, le=180, description="largest rotation, in degrees to either side")
    colour: float = Field(default=1.0, ge=0, le=2, description="strength of changes of colour; 0 turns them off")

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> Variation:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be 0 < low <= high, but got {self.scale}")
        return self

    def remark(self, labels: Sequence[str]) -> str | None:
        """Say in a line which classes of these names a flip may turn into one another; None where there are none."""
        keys = [key for key in ("flip", "vertical_flip") if getattr(self, key) > 0]
        sided = [name for name in labels if _SIDED.search(name)]
        if not keys or not sided:
            return None
        some = ", ".join(f"'{name}'" for name in sided[:3]) + (" …" if len(sided) > 3 else "")
        off = " and ".join(f"`{key}: 0` (--set {key}=0)" for key in keys)
        return f"training images are flipped at random, but {some} tell left from right; {off} turns it off"
