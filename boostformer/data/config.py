"""Choice of the data of a run: the ``data:`` section of a run file, as a typed model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from boostformer.files import expanded
from boostformer.sizes import parse_size

Size = Annotated[tuple[int, int], BeforeValidator(parse_size)]
Root = Annotated[Path, AfterValidator(expanded)]
Fit = Literal["exact", "short_side"]


class SceneCounts(BaseModel):
    """Numbers of scenes to generate, and their seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    training: int = Field(default=256, ge=1, description="number of training scenes")
    validation: int = Field(default=64, ge=1, description="number of validation scenes")
    seed: int = Field(default=0, ge=0, description="the same seed draws the same scenes")


class DataConfig(BaseModel):
    """A data set and the scale at which networks see it.

    ``fit="exact"`` resizes every image to ``size`` (H, W). ``fit="short_side"`` keeps its proportions and
    makes the shorter side ``min(size)``; training then crops to ``size``, validation sees the whole image.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["ade20k", "scenes"] = "scenes"
    root: Root | None = Field(default=None, description="folder of the data set; only for kind ade20k")
    size: Size = Field(default=(96, 128), description="(H, W) in pixels, also written HxW")
    fit: Fit = "exact"
    scenes: SceneCounts = SceneCounts()

    @model_validator(mode="after")
    def _root_belongs_to_folders(self) -> DataConfig:
        if (self.kind == "ade20k") != (self.root is not None):
            need = "needs" if self.kind == "ade20k" else "has no"
            raise ValueError(f"data of kind {self.kind!r} {need} 'root', the folder of the data set")
        return self
