"""Describe an exported file within it, so that nothing else is needed to use it: input, output and classes.

The same three values are in the file's metadata, as JSON, and in the manifest beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from boostformer.architecture import Architecture
from boostformer.data.config import OVERLAP, Fit
from boostformer.data.normalise import Normalisation
from boostformer.data.split import fitted_shape
from boostformer.model import BoostFormer
from boostformer.overlay import palette

LabelType = Literal["uint8", "int32"]
LABEL_TYPES: tuple[LabelType, ...] = get_args(LabelType)
Shape = tuple[int, int]
SHOWN = ("smallest", "median", "largest")
"""Images whose shapes are told."""
PIXELS = 1 / 255
"""Deviation that leaves pixels as they are: they are in 0…255, and the mean and deviation of pixels in 0…1."""
RESIZING = (
    "8-bit pixels of the upright image, before all else: where both sides shrink, the mean over the area that each "
    "new pixel covers, pixels at its border in part; else bilinear between pixel centres, held at the borders; rounded "
    "to 8 bits. An image of the input's size stays as it is"
)
FITTING: Mapping[Fit, str] = {
    "exact": "every image is resized to the input's shape, whatever its own",
    "short_side": (
        "images were scored with their proportions, the shorter side at min(size): one of the proportions of `shape` "
        "is resized to it; any other needs a file of its own shape (`boostformer export --size`)"
    ),
    "tile": (
        "images are not resized but seen through windows of the input's shape, beyond the image 0. Along a side of n "
        "pixels with a window of w, in units of `square`: room = max(0, ceil(n) - w), stride = max(1, floor(w * (1 - "
        "overlap))), count = ceil(room / stride) + 1; window i of them begins at room * i // max(1, count - 1). Logits "
        "of overlapping windows are averaged before they are enlarged, each to `square` pixels a side"
    ),
}


@dataclass(frozen=True)
class Form:
    """What lies inside an exported file beside the network.

    Attributes:
        labels: the element type of class numbers at the input's size, which the file then gives; None for logits.
        normalised: whether the file normalises pixels itself, and so takes them in 0…255.
        half: whether weights and maps are in half precision; input and output stay in single precision.
        any_batch: whether the number of images is free.
        any_size: whether their size is, in steps.
        mobile: whether the graph is written for the providers of phones.
    """

    labels: LabelType | None = None
    normalised: bool = False
    half: bool = False
    any_batch: bool = False
    any_size: bool = False
    mobile: bool = False


def scored_shape(provenance: Mapping[str, Any]) -> Shape | None:
    """Give the (H, W) at which images were scored, of several that of the median image; None where it is not told."""
    fit, size, sizes = _seen(provenance)
    if size is None or (fit == "short_side" and not sizes):
        return None
    return fitted_shape(sizes["median"], size, fit) if fit == "short_side" else size


def _seen(provenance: Mapping[str, Any]) -> tuple[Fit, Shape | None, Mapping[str, Shape]]:
    """Read how the network saw images: fit, size, and the sizes of the images themselves, of which all or none."""
    data, summary = (_mapping(provenance.get(key)) for key in ("data", "data_summary"))
    told = _mapping(summary.get("sizes"))
    fit: Fit = data["fit"] if data.get("fit") in FITTING else "exact"
    sizes = {key: shape for key in SHOWN if (shape := _shape(told.get(key))) is not None}
    return fit, _shape(data.get("size")), sizes if len(sizes) == len(SHOWN) else {}


def _shape(value: Any) -> Shape | None:
    whole = (
        isinstance(value, list | tuple) and len(value) == 2 and all(type(side) is int and side > 0 for side in value)
    )
    return (value[0], value[1]) if whole else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}  # provenance is anybody's to set


def shape_remark(provenance: Mapping[str, Any], shape: tuple[int, ...]) -> str | None:
    """Say where a file of one (H, W) does not see all images as they were scored; None where it does."""
    fit, size, sizes = _seen(provenance)
    scored = _scored_at(fit, size, sizes)
    if scored is None or all(each == list(shape) for each in scored.values()):
        return None
    low, median, high = ("x".join(map(str, scored[key])) for key in SHOWN)
    at = low if low == high else f"{low} to {high}, the median image at {median}"
    return f"images were scored at {at}; this file has one shape, and scores count for images that have it, too"


def inside(normalisation: Normalisation | None, bands: int, form: Form) -> Normalisation | None:
    """Give the mean and deviation that remain to be done outside of the file; None where they are not known."""
    return Normalisation((0.0,) * bands, (PIXELS,) * bands) if form.normalised else normalisation


def described_input(model: BoostFormer, form: Form) -> dict[str, Any]:
    """Say how an image file becomes the input: bands, levels, size, and the numbers that normalise it.

    ``levels`` are the numbers that are 0 and 255, null for those of the file's type; ``mean`` and ``std`` are of pixels
    in 0…1, null where an untrained network does not know them.
    """
    height, width = model.architecture.size
    bands, reading = model.architecture.bands, model.reading
    fit, size, sizes = _seen(model.provenance)
    by = inside(model.normalisation, bands, form)
    names = "RGB" if reading.bands == "rgb" else "bands in the order of the images"
    how = "pixels 0…255 as they are; the file normalises" if form.normalised else "pixels / 255, minus mean, / std"
    return {
        "name": "image",
        "shape": [1, bands, height, width],
        "dtype": "float32",
        "dynamic": described_axes(model.architecture, form),
        "layout": f"NCHW, {names}: {how}",
        "bands": reading.bands,
        "levels": list(reading.levels) if reading.levels else None,
        "mean": list(by.mean) if by else None,
        "std": list(by.std) if by else None,
        "resize": {"shrinking": "area", "growing": "bilinear", "rule": RESIZING},
        "fit": fit,
        "fit_rule": FITTING[fit],
        "size": list(size or model.architecture.size),
        "scored_at": _scored_at(fit, size, sizes),
        "overlap": model.provenance["data"].get("overlap", OVERLAP) if fit == "tile" else None,
        "square": height // model.architecture.map_sizes()[0][0] if fit == "tile" else None,
    }


def described_axes(arch: Architecture, form: Form) -> dict[str, Any] | None:
    """Say which axes are free: ``batch`` whether that is, ``steps`` of pixels of the size or null; None where none is.

    ``shape`` is what the file was compared at first.
    """
    if not (form.any_batch or form.any_size):
        return None
    step = arch.size[0] // arch.map_sizes()[-1][0]
    return {"batch": form.any_batch, "steps": step if form.any_size else None}


def _scored_at(fit: Fit, size: Shape | None, sizes: Mapping[str, Shape]) -> dict[str, Any] | None:
    """Say at which shapes images were scored: smallest, median, largest; None where nobody knows."""
    if size is None or (fit == "short_side" and not sizes):
        return None
    return {key: list(fitted_shape(sizes[key], size, fit) if fit == "short_side" else size) for key in SHOWN}


def described_output(model: BoostFormer, form: Form) -> dict[str, Any]:
    """Say what the output is and how it becomes class numbers at the image's own size."""
    if form.labels is not None:
        meaning = "class numbers; to an image of another size each pixel takes the nearest one's"
        return {
            "name": "labels",
            "shape": [1, *model.architecture.size],
            "dtype": form.labels,
            "kind": "labels",
            "enlarge": "nearest",
            "meaning": meaning,
        }
    meaning = "resize bilinearly to the image, between pixel centres and held at the borders, then argmax over axis 1"
    return {
        "name": "logits",
        "shape": [1, model.architecture.classes, *model.architecture.map_sizes()[0]],
        "dtype": "float32",
        "kind": "logits",
        "enlarge": "bilinear",
        "meaning": meaning,
    }


def described_classes(model: BoostFormer) -> list[dict[str, Any]]:
    """List the classes by number: label, the values in the data's masks with their colours, and the picture colour.

    ``masks`` is null where the data are not known or have no mask files; a ``colour`` there is null where they have
    none. ``colour`` is that of `boostformer predict`, whose label maps have the ``predicted`` number.
    """
    count = model.architecture.classes
    known = _mapping(model.provenance.get("data_summary")).get("classes") or []
    if [_mapping(one).get("class") for one in known] != model.labels:
        known = []
    colours = palette(count).tolist()
    return [
        {
            "class": index,
            "label": model.labels[index] if model.labels else None,
            "masks": _masks(known[index]) if known else None,
            "predicted": index + 1,
            "colour": "#" + bytes(colours[index]).hex(),
        }
        for index in range(count)
    ]


def _masks(known: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    values = known.get("values") or []
    colours = known.get("colours") or []
    colours = colours if len(colours) == len(values) else [None] * len(values)  # none before they were kept
    return [{"value": value, "colour": colour} for value, colour in zip(values, colours, strict=True)] or None
