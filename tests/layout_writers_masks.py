"""Writers of layouts whose masks are image files, each with the real names of its files."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from layout_data import CLASSES, made

COLOURS = [(0, 0, 0), (128, 64, 128), (190, 153, 153), (0, 0, 142)]
"""Of values 0…3, where masks are painted."""


def write_ade20k(root: Path) -> Path:
    for split, some in made().items():
        for one in some:
            one.write(root / f"images/{split}/{one.name}.jpg", root / f"annotations/{split}/{one.name}.png")
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return root


def write_cityscapes(root: Path, which: str = "labelIds", values: tuple[int, ...] = (3, 7, 13, 26)) -> Path:
    for split, some in zip(("train", "val"), made().values(), strict=True):
        for one in some:
            city = one.name.partition("_")[0]
            masks = root / "gtFine" / split / city
            image = root / "leftImg8bit" / split / city / f"{one.name}_leftImg8bit.png"
            one.write(image, masks / f"{one.name}_gtFine_{which}.png", values)
            one.write(image, masks / f"{one.name}_gtFine_color.png", COLOURS)
            one.write(image, masks / f"{one.name}_gtFine_instanceIds.png", values)
            (masks / f"{one.name}_gtFine_polygons.json").write_text("{}")
    return root


def write_cityscapes_train_ids(root: Path) -> Path:
    return write_cityscapes(root, "labelTrainIds", (255, 0, 4, 13))


def write_cvat(root: Path) -> Path:
    """What CVAT exports as "Segmentation mask" from a project with parts, images included."""
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    lines += [f"{name}:{','.join(map(str, colour))}::" for name, colour in zip(CLASSES, COLOURS[1:], strict=True)]
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (root / "labelmap.txt").write_text("\n".join(lines) + "\n")
    for title, some in zip(("Train", "Validation"), made().values(), strict=True):
        for one in some:
            one.write(root / f"JPEGImages/{one.name}.jpg", root / f"SegmentationObject/{one.name}.png", COLOURS)
            one.write(root / f"JPEGImages/{one.name}.jpg", root / f"SegmentationClass/{one.name}.png", COLOURS)
        (lists / f"{title}.txt").write_text("".join(f"{one.name}\n" for one in some))
    return root


def voc_palette() -> np.ndarray:
    """The 256 colours of Pascal VOC's masks: bits of the number, dealt out to red, green and blue in turn."""
    numbers = np.arange(256)
    bands = [sum((numbers >> (3 * bit + band) & 1) << (7 - bit) for bit in range(3)) for band in range(3)]
    return np.stack(bands, axis=1).astype(np.uint8)


def write_voc(root: Path, values: tuple[int, ...] = (255, 1, 2, 7)) -> Path:
    """As published: masks of a palette, one folder for all parts, and images of other tasks among them."""
    home = root / "VOCdevkit/VOC2012"
    lists = home / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    everything = []
    for split, some in zip(("train", "val"), made().values(), strict=True):
        for one in some:
            one.write(
                home / f"JPEGImages/{one.name}.jpg", home / f"SegmentationClass/{one.name}.png", values, voc_palette()
            )
        names = [f"{one.name}\n" for one in some]
        (lists / f"{split}.txt").write_text("".join(names))
        everything += names
    (lists / "trainval.txt").write_text("".join(everything))
    (home / "JPEGImages/2007_000001.jpg").write_bytes((home / f"JPEGImages/{one.name}.jpg").read_bytes())
    return root


def write_labelme(root: Path) -> Path:
    """What labelme's ``labelme2voc.py`` makes, for one part."""
    for one in (one for some in made().values() for one in some):
        image, mask = root / f"JPEGImages/{one.name}.jpg", root / f"SegmentationClass/{one.name}.png"
        one.write(image, mask, palette=voc_palette())
    (root / "class_names.txt").write_text("\n".join(["_background_", *CLASSES]))
    return root


def write_vistas(root: Path, masks: str = "v2.0/labels", config: str = "config_v2.0.json") -> Path:
    named = zip(("Bird", "Road", "Fence", "Car", "Unlabeled"), [(9, 9, 9), *COLOURS[1:], COLOURS[0]], strict=True)
    labels = [
        {"readable": name, "name": f"object--{name.lower()}", "color": colour, "evaluate": name != "Unlabeled"}
        for name, colour in named
    ]
    palette = [label["color"] for label in labels]
    for split, some in made().items():
        for one in some:
            image, mask = root / split / f"images/{one.name}.jpg", root / split / masks / f"{one.name}.png"
            one.write(image, mask, (4, 1, 2, 3), palette)
    (root / "testing/images").mkdir(parents=True)
    shutil.copy(image, root / "testing/images")
    (root / config).write_text(json.dumps({"version": "2.0", "mapping": "public", "labels": labels}))
    return root


def write_vistas_1(root: Path) -> Path:
    return write_vistas(root, "labels", "config.json")


def write_camvid(root: Path) -> Path:
    """As SegNet's tutorial has it."""
    for split, some in zip(("train", "val"), made().values(), strict=True):
        for one in some:
            one.write(root / split / f"{one.name}.png", root / f"{split}annot" / f"{one.name}.png", (11, 3, 7, 8))
        lines = [f"/SegNet/CamVid/{split}/{one.name}.png /SegNet/CamVid/{split}annot/{one.name}.png\n" for one in some]
        (root / f"{split}.txt").write_text("".join(lines))
    return root


def write_camvid_painted(root: Path) -> Path:
    for split, some in zip(("train", "val"), made().values(), strict=True):
        for one in some:
            one.write(root / split / f"{one.name}.png", root / f"{split}_labels" / f"{one.name}_L.png", COLOURS)
    named = zip(("Void", "Road", "Fence", "Car"), COLOURS, strict=True)
    lines = ["name,r,g,b", "Animal,64,128,64", *(f"{name},{','.join(map(str, colour))}" for name, colour in named)]
    (root / "class_dict.csv").write_text("\n".join(lines) + "\n")
    return root


def write_camvid_whole(root: Path) -> Path:
    """As published, which has no parts."""
    for one in (one for some in made().values() for one in some):
        one.write(root / f"701_StillsRaw_full/{one.name}.png", root / f"LabeledApproved_full/{one.name}_L.png", COLOURS)
    named = zip(("Void", "Road", "Fence", "Car"), COLOURS, strict=True)
    lines = ["64 128 64\tAnimal", *(f"{' '.join(map(str, colour))}\t\t{name}" for name, colour in named)]
    (root / "label_colors.txt").write_text("\n".join(lines) + "\n")
    return root


def write_roboflow_masks(root: Path) -> Path:
    for split, some in zip(("train", "valid"), made().values(), strict=True):
        for one in some:
            name = f"{one.name}_jpg.rf.{zlib.crc32(one.name.encode()):08x}"
            one.write(root / split / f"{name}.jpg", root / split / f"{name}_mask.png")
        lines = ["Pixel Value, Class", "0, background", *(f"{i}, {name}" for i, name in enumerate(CLASSES, start=1))]
        (root / split / "_classes.csv").write_text("\n".join(lines) + "\n")
    return root


WRITERS: dict[str, Callable[[Path], Path]] = {
    "ade20k": write_ade20k,
    "cityscapes": write_cityscapes,
    "cityscapes: train ids": write_cityscapes_train_ids,
    "voc": write_cvat,
    "vistas": write_vistas,
    "vistas: first version": write_vistas_1,
    "camvid": write_camvid,
    "camvid: painted": write_camvid_painted,
    "roboflow_masks": write_roboflow_masks,
}
"""Writers of layouts with two parts, by kind and variant."""
