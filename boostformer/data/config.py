"""Choice of the data of a run: the ``data:`` section of a run file, as a typed model."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from boostformer.data.bands import ImageReading
from boostformer.data.colours import colour_code, parse_colour
from boostformer.errors import nearest
from boostformer.files import expanded
from boostformer.sizes import parse_size

Size = Annotated[tuple[int, int], BeforeValidator(parse_size)]
Root = Annotated[Path, AfterValidator(expanded)]
MOST_VALUES = 65536
"""Number of mask values: masks have 8 or 16 bits."""
Name = Annotated[str, Field(min_length=1)]
Colour = Annotated[str, BeforeValidator(lambda text: colour_code(parse_colour(text)))]
Fit = Literal["exact", "short_side", "tile"]
OVERLAP = 0.25
TILE_STEP = 32
"""Sides of windows are multiples of this: every network divides them into whole squares of pixels."""

SplitName = Literal["training", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)

SCENES, AUTO, PATTERNS = "scenes", "auto", "patterns"
FORMATS = (
    "ade20k",
    "cityscapes",
    "voc",
    "vistas",
    "camvid",
    "roboflow_masks",
    "coco",
    "coco_panoptic",
    "coco_stuff",
    "yolo",
    "cvat",
    "labelme",
    "supervisely",
    "hf",
)
"""Kinds of data sets in folders, beside patterns of one's own; each has a file in ``formats/``."""
KINDS = (AUTO, *FORMATS, PATTERNS, SCENES)


def _mask_value(given: Any) -> Any:
    """Read digits as a number, which they are as keys of JSON and on command lines."""
    value = int(given) if isinstance(given, str) and given.strip().isdecimal() else given
    named = isinstance(value, str) and bool(value.strip())
    if not named and (type(value) is not int or not 0 <= value < MOST_VALUES):
        raise ValueError(f"{given!r} is no mask value; allowed: 0…{MOST_VALUES - 1}, or the data set's own name of one")
    return value


MaskValue = Annotated[int | str, BeforeValidator(_mask_value)]
"""A mask value, or what the data set itself calls it."""


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"unknown '{kind}'; {nearest(kind, KINDS)}")
    return kind


Kind = Annotated[str, AfterValidator(_known)]


def _bands(given: Any) -> Any:
    count = int(given) if isinstance(given, str) and given.strip().isdecimal() else given
    if count != "rgb" and (type(count) is not int or count < 1):
        raise ValueError(f"{given!r} is no number of bands; allowed: rgb, or a whole number of at least 1")
    return count


def _levels(given: Any) -> Any:
    if given is None:
        return None
    numbers = list(given) if isinstance(given, list | tuple) else []
    if len(numbers) != 2 or any(type(n) not in (int, float) or not isfinite(n) for n in numbers):
        raise ValueError(f"{given!r} are no levels; allowed: [low, high], the numbers that become 0 and 255")
    if numbers[0] >= numbers[1]:
        raise ValueError(f"{given!r} are no levels: the first must be lower than the second")
    return tuple(numbers)


Bands = Annotated[int | Literal["rgb"], BeforeValidator(_bands)]
Levels = Annotated[tuple[int | float, int | float] | None, BeforeValidator(_levels)]


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
    ``fit="tile"`` keeps every image as it is; training crops to ``size``, validation sees it through windows of
    ``size``, of which each covers at least the share ``overlap`` of the one before.

    What mask values mean: ``classes`` are the names of the values that are not ignored, in order, or names by value;
    several values may share a name, and where the data set has names itself, they may stand for their values.
    ``ignore`` are the values that are no class, 0 and 255 unless told; such names are ignored beside those of the data
    set, numbers instead of them; ``background`` is the name of
    value 0 where that is a class. ``colours`` are names by colour, for masks that are painted; there ``ignore`` has
    colours.

    ``bands`` of images are "rgb", which makes three equal bands of grey, or a number, which reads exactly so many as
    they are in the files. ``levels`` are the numbers that become 0 and 255, of images with more than 8 bits; of 16 bits
    all do unless told.

    Where files lie, if in no layout that is known: ``images`` and ``masks`` are patterns below ``root``, see
    :mod:`boostformer.data.formats.patterns`, and ``lists`` are files that list the samples of each part.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = Field(default=AUTO, description=f"layout of the data set: {', '.join(KINDS)}")
    root: Root | None = Field(default=None, description="folder of the data set")
    size: Size = Field(default=(96, 128), description="(H, W) in pixels, also written HxW")
    fit: Fit = "exact"
    overlap: float = Field(default=OVERLAP, ge=0, lt=0.9, description="least overlap of windows, where `fit` is tile")
    scenes: SceneCounts = SceneCounts()
    classes: dict[MaskValue, Name] | tuple[Name, ...] | None = Field(
        default=None, description="names in order, or {value: name}"
    )
    ignore: tuple[MaskValue, ...] | None = Field(default=None, description="mask values that are no class")
    background: Name | None = Field(default=None, description="name of mask value 0, where it is a class")
    colours: dict[Colour, Name] | None = Field(default=None, description="names of painted masks: {'#804080': road}")
    images: Name | None = Field(default=None, description="where images are: raw/{split}/*.tif")
    masks: Name | None = Field(default=None, description="where an image's mask is: labels/{split}/{stem}_mask.png")
    lists: dict[SplitName, Path] | None = Field(default=None, description="text files that list each part's samples")
    bands: Bands = Field(default="rgb", description="rgb, or the number of bands that images have")
    levels: Levels = Field(default=None, description="[low, high]: numbers of more than 8 bits that become 0 and 255")
    validation_share: float | None = Field(
        default=None, gt=0, lt=1, description="share of the training part to validate on, where no other is given"
    )

    @property
    def reading(self) -> ImageReading:
        """Reading of image files."""
        return ImageReading(self.bands, self.levels)

    def at(self, root: Path) -> DataConfig:
        """Give the same data at another place; lists below it are named from there, so that they may move with it."""
        lists = self.lists and {
            split: file.relative_to(root) if file.is_relative_to(root) else file for split, file in self.lists.items()
        }
        return self.model_copy(update={"root": root, "lists": lists})

    @model_validator(mode="before")
    @classmethod
    def _kind_follows(cls, given: Any) -> Any:
        """Without a kind, data are scenes where there is no root, patterns where there are any, else recognised."""
        if not isinstance(given, dict) or given.get("kind") is not None:
            return given
        free = any(given.get(key) is not None for key in _PLACES)
        return given | {"kind": PATTERNS if free else AUTO if given.get("root") is not None else SCENES}

    @model_validator(mode="after")
    def _root_belongs_to_folders(self) -> DataConfig:
        if (self.kind != SCENES) != (self.root is not None):
            need = "has no" if self.kind == SCENES else "needs"
            raise ValueError(f"data of kind {self.kind!r} {need} 'root', the folder of the data set")
        if self.kind == SCENES and self.validation_share is not None:
            raise ValueError("data of kind 'scenes' has no 'validation_share'; say `scenes: {validation: N}`")
        if self.kind == SCENES and self.reading != ImageReading():
            raise ValueError("data of kind 'scenes' are RGB, and have no 'bands' or 'levels'")
        said = [key for key in _PLACES if getattr(self, key) is not None]
        if said and self.kind != PATTERNS:
            raise ValueError(f"'{said[0]}' is for data of kind 'patterns', but this is of kind '{self.kind}'")
        if self.kind == PATTERNS and self.masks is None and self.lists is None:
            raise ValueError("data of kind 'patterns' needs 'images' and 'masks', or 'lists'")
        return self

    @model_validator(mode="after")
    def _windows_are_whole(self) -> DataConfig:
        if self.fit == "tile" and any(side % TILE_STEP for side in self.size):
            height, width = self.size
            near = "x".join(str(max(1, round(side / TILE_STEP)) * TILE_STEP) for side in self.size)
            raise ValueError(f"size {height}x{width}: windows are multiples of {TILE_STEP} pixels, such as {near}")
        if self.overlap != OVERLAP and self.fit != "tile":
            raise ValueError(f"'overlap' is of windows, which images have with `fit: tile`, but fit is '{self.fit}'")
        return self

    @model_validator(mode="after")
    def _values_have_one_meaning(self) -> DataConfig:
        told = [key for key in ("classes", "ignore", "background", "colours") if getattr(self, key) is not None]
        if self.kind == SCENES and told:
            raise ValueError(f"data of kind 'scenes' has no '{told[0]}', which is about masks in files")
        if self.colours is not None:
            _check_colours(self)
            return self
        by_value = self.classes if isinstance(self.classes, dict) else {}
        if self.classes is not None and not self.classes:
            raise ValueError("'classes' is empty")
        if both := [value for value in by_value if value in (self.ignore or ())]:
            raise ValueError(f"mask value {both[0]} is in 'classes' and in 'ignore'; allowed: one of them")
        if self.background is not None and by_value:
            raise ValueError("'background' beside 'classes' by value; name value 0 there")
        if self.background is not None and 0 in (self.ignore or ()):
            raise ValueError("'background' is the name of mask value 0, but 'ignore' has 0; allowed: one of them")
        names = [] if by_value else list(self.classes or ())  # by value, several may be one class
        if twice := [name for index, name in enumerate(names) if name in names[:index]]:
            raise ValueError(f"'classes' names '{twice[0]}' twice")
        return self


_PLACES = ("images", "masks", "lists")


def _check_colours(config: DataConfig) -> None:
    for key in ("classes", "background"):
        if getattr(config, key) is not None:
            raise ValueError(f"'{key}' beside 'colours', which name the classes themselves; allowed: one of them")
    if not config.colours:
        raise ValueError("'colours' is empty")
    for value in config.ignore or ():
        try:
            code = colour_code(parse_colour(value))
        except ValueError as error:
            raise ValueError(f"'ignore' beside 'colours' has colours, too: {error}") from None
        if code in config.colours:
            raise ValueError(f"colour {code} is in 'colours' and in 'ignore'; allowed: one of them")
