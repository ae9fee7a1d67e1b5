"""Choice of the data of a run: the ``data:`` section of a run file, as a typed model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from boostformer.files import expanded
from boostformer.sizes import parse_size

Size = Annotated[tuple[int, int], BeforeValidator(parse_size)]
Root = Annotated[Path, AfterValidator(expanded)]
MaskValue = Annotated[int, Field(ge=0, le=255)]
Name = Annotated[str, Field(min_length=1)]
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

    What mask values mean: ``classes`` are the names of the values that are not ignored, in order, or names by value.
    ``ignore`` are the values that are no class, 0 and 255 unless told; ``background`` is the name of value 0 where that
    is a class.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["ade20k", "scenes"] = "scenes"
    root: Root | None = Field(default=None, description="folder of the data set; only for kind ade20k")
    size: Size = Field(default=(96, 128), description="(H, W) in pixels, also written HxW")
    fit: Fit = "exact"
    scenes: SceneCounts = SceneCounts()
    classes: dict[MaskValue, Name] | tuple[Name, ...] | None = Field(
        default=None, description="names in order, or {value: name}"
    )
    ignore: tuple[MaskValue, ...] | None = Field(default=None, description="mask values that are no class")
    background: Name | None = Field(default=None, description="name of mask value 0, where it is a class")

    @model_validator(mode="after")
    def _root_belongs_to_folders(self) -> DataConfig:
        if (self.kind == "ade20k") != (self.root is not None):
            need = "needs" if self.kind == "ade20k" else "has no"
            raise ValueError(f"data of kind {self.kind!r} {need} 'root', the folder of the data set")
        return self

    @model_validator(mode="after")
    def _values_have_one_meaning(self) -> DataConfig:
        told = [key for key in ("classes", "ignore", "background") if getattr(self, key) is not None]
        if self.kind == "scenes" and told:
            raise ValueError(f"data of kind 'scenes' has no '{told[0]}', which is about masks in files")
        by_value = self.classes if isinstance(self.classes, dict) else {}
        if self.classes is not None and not self.classes:
            raise ValueError("'classes' is empty")
        if both := sorted(set(by_value) & set(self.ignore or ())):
            raise ValueError(f"mask value {both[0]} is in 'classes' and in 'ignore'; allowed: one of them")
        if self.background is not None and by_value:
            raise ValueError("'background' beside 'classes' by value; name value 0 there")
        if self.background is not None and 0 in (self.ignore or ()):
            raise ValueError("'background' is the name of mask value 0, but 'ignore' has 0; allowed: one of them")
        names = list(by_value.values()) if by_value else list(self.classes or ())
        if twice := [name for index, name in enumerate(names) if name in names[:index]]:
            raise ValueError(f"'classes' names '{twice[0]}' twice")
        return self
