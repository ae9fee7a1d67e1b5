"""One small data set, that of ``layout_data``, in the layouts of tools that annotate by shapes or segments."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from layout_data import CLASSES, Made, made, short
from PIL import Image

NAMES = CLASSES
PARTS = {"training": "train", "validation": "val"}


@dataclass(frozen=True)
class Annotated:
    """An image with its mask, and (name, left, top, width, height) of each rectangle in it."""

    name: str
    pixels: np.ndarray
    mask: np.ndarray
    boxes: list[tuple[str, int, int, int, int]]

    @property
    def size(self) -> dict[str, int]:
        return {"width": self.mask.shape[1], "height": self.mask.shape[0]}

    def save(self, folder: Path) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self.pixels).save(folder / f"{self.name}.png")
        return f"{self.name}.png"


def annotated() -> dict[str, list[Annotated]]:
    """Give the made data set by part."""
    return {part: [_one(one) for one in images] for part, images in made().items()}


def _one(one: Made) -> Annotated:
    boxes = [(NAMES[value - 1], left, top, right - left, bottom - top) for value, left, top, right, bottom in one.boxes]
    return Annotated(short(one.name), one.pixels, one.mask, boxes)


def corners(left: float, top: float, width: float, height: float) -> list[tuple[float, float]]:
    right, bottom = left + width, top + height
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def runs(mask: np.ndarray) -> list[int]:
    """Lengths of runs of a flat mask, the first one outside."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=2 if not mask[-1] else 0))
    return np.diff(edges, prepend=0).tolist()


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def coco_content(images: list[Annotated], ids: tuple[int, ...] = (7, 3, 90), prefix: str = "") -> dict[str, object]:
    """COCO's content; the first object of each image is drawn by runs, the others as outlines."""
    listed, annotations = [], []
    for number, image in enumerate(images, start=100):
        listed.append({"id": number, "file_name": f"{prefix}{image.name}.png", **image.size})
        for place, (name, *box) in enumerate(image.boxes):
            outline: object = [[coordinate for point in corners(*box) for coordinate in point]]
            if place == 0:
                flat = (image.mask == NAMES.index(name) + 1).ravel(order="F")
                outline = {"size": list(image.mask.shape), "counts": runs(flat)}
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": ids[NAMES.index(name)],
                    "segmentation": outline,
                    "area": box[2] * box[3],
                    "bbox": box,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": key, "name": name, "supercategory": "colour"} for key, name in zip(ids, NAMES, strict=True)]
    return {"images": listed, "annotations": annotations, "categories": categories}


def write_coco(root: Path) -> Path:
    for part, images in annotated().items():
        name = f"{PARTS[part]}2017"
        for image in images:
            image.save(root / name)
        write_json(root / "annotations" / f"instances_{name}.json", coco_content(images))
        write_json(root / "annotations" / f"captions_{name}.json", {"images": []})
    return root


def write_coco_roboflow(root: Path) -> Path:
    """The category 0 is the parent of the others, as Roboflow writes it."""
    for part, images in annotated().items():
        folder = root / {"training": "train", "validation": "valid"}[part]
        for image in images:
            image.save(folder)
        content = coco_content(images, ids=(1, 2, 3))
        parent = {"id": 0, "name": "colour", "supercategory": "none"}
        write_json(folder / "_annotations.coco.json", content | {"categories": [parent, *content["categories"]]})
    return root


def write_coco_panoptic(root: Path) -> Path:
    for part, images in annotated().items():
        name = f"{PARTS[part]}2017"
        masks = root / "annotations" / f"panoptic_{name}"
        masks.mkdir(parents=True)
        listed, annotations = [], []
        for number, image in enumerate(images):
            listed.append({"id": number, "file_name": image.save(root / name), **image.size})
            segments = [{"id": 70_000 + 300 * value, "category_id": (200, 1, 5, 9)[value]} for value in range(4)]
            coded = np.array([one["id"] for one in segments])[image.mask]
            colours = np.stack([coded & 255, coded >> 8 & 255, coded >> 16], axis=-1).astype(np.uint8)
            Image.fromarray(colours).save(masks / f"{image.name}.png")
            annotations.append({"image_id": number, "file_name": f"{image.name}.png", "segments_info": segments})
        categories = [
            {"id": key, "name": name, "isthing": int(key < 100)}
            for key, name in zip((200, 1, 5, 9), ("background", *NAMES), strict=True)
        ]
        content = {"images": listed, "annotations": annotations, "categories": categories}
        write_json(root / "annotations" / f"panoptic_{name}.json", content)
    return root


def write_coco_stuff(root: Path) -> Path:
    for part, images in annotated().items():
        name = f"{PARTS[part]}2017"
        (root / "stuffthingmaps" / name).mkdir(parents=True)
        for image in images:
            image.save(root / name)
            Image.fromarray(image.mask).save(root / "stuffthingmaps" / name / f"{image.name}.png")
    lines = ["0: unlabeled", *(f"{number}: {name}" for number, name in enumerate(("background", *NAMES), start=1))]
    (root / "labels.txt").write_text("\n".join(lines))
    return root


def _yolo_labels(image: Annotated) -> str:
    lines = []
    for name, *box in image.boxes:
        height, width = image.mask.shape
        shares = [f"{x / width:.6f} {y / height:.6f}" for x, y in corners(*box)]
        lines.append(f"{NAMES.index(name)} {' '.join(shares)}\n")
    return "".join(lines)


def write_yolo(root: Path) -> Path:
    """As Ultralytics has it: parts below images/ and labels/."""
    for part, images in annotated().items():
        (root / "labels" / PARTS[part]).mkdir(parents=True)
        for image in images:
            image.save(root / "images" / PARTS[part])
            (root / "labels" / PARTS[part] / f"{image.name}.txt").write_text(_yolo_labels(image))
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(NAMES))
    (root / "data.yaml").write_text(
        f"path: ../datasets/coloured\ntrain: images/train\nval: images/val\nnames:\n{names}"
    )
    return root


def write_yolo_roboflow(root: Path) -> Path:
    """As Roboflow has it: images/ and labels/ below each part, and paths that lead out of the folder."""
    for part, images in annotated().items():
        folder = root / {"training": "train", "validation": "valid"}[part]
        (folder / "labels").mkdir(parents=True)
        for image in images:
            image.save(folder / "images")
            (folder / "labels" / f"{image.name}.txt").write_text(_yolo_labels(image))
    (root / "data.yaml").write_text(
        f"train: ../train/images\nval: ../valid/images\ntest:\n\nnc: 3\nnames: {json.dumps(NAMES)}\n\n"
        "roboflow:\n  workspace: made\n  version: 1\n"
    )
    return root


def write_cvat(root: Path) -> Path:
    """The first rectangle of each image is a mask, the others are polygons."""
    labels = "".join(f"<label><name>{name}</name><type>any</type></label>" for name in NAMES)
    text = [f"<annotations><version>1.1</version><meta><project><labels>{labels}</labels></project></meta>"]
    for part, images in annotated().items():
        subset = {"training": "Train", "validation": "Validation"}[part]
        for number, image in enumerate(images):
            image.save(root / "images" / subset)
            size = f'width="{image.size["width"]}" height="{image.size["height"]}"'
            text.append(f'<image id="{number}" name="{image.name}.png" subset="{subset}" {size}>')
            for place, (name, left, top, width, height) in enumerate(image.boxes):
                if place == 0:
                    box = f'left="{left}" top="{top}" width="{width}" height="{height}"'
                    text.append(f'<mask label="{name}" rle="0, {width * height}" {box} z_order="0"></mask>')
                else:
                    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in corners(left, top, width, height))
                    text.append(f'<polygon label="{name}" occluded="0" points="{points}" z_order="0"></polygon>')
            text.append("</image>")
    (root / "annotations.xml").write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n' + "\n".join(text) + "</annotations>"
    )
    return root


def write_labelme(root: Path) -> Path:
    """The first rectangle of each image is a polygon, the others are rectangles."""
    for part, images in annotated().items():
        folder = root / PARTS[part]
        for image in images:
            shapes = []
            for place, (name, *box) in enumerate(image.boxes):
                points = corners(*box)
                kind = "polygon" if place == 0 else "rectangle"
                shapes.append(
                    {"label": name, "points": points if place == 0 else points[::2], "group_id": None}
                    | {"shape_type": kind, "flags": {}}
                )
            content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image.save(folder)}
            write_json(
                folder / f"{image.name}.json",
                content | {"imageData": None, "imageHeight": image.size["height"], "imageWidth": image.size["width"]},
            )
    return root


def bitmap(mask: np.ndarray) -> str:
    """A mask as Supervisely writes it: a PNG of one bit, compressed, in base64."""
    stream = io.BytesIO()
    Image.fromarray(mask.astype(bool)).save(stream, "PNG")
    return base64.b64encode(zlib.compress(stream.getvalue())).decode()


def write_supervisely(root: Path) -> Path:
    """The first rectangle of each image is a bitmap, the others are polygons of pixels, their outline included."""
    for part, images in annotated().items():
        folder = root / PARTS[part]
        for image in images:
            name = image.save(folder / "img")
            objects = []
            for place, (title, left, top, width, height) in enumerate(image.boxes):
                one: dict[str, object] = {"classTitle": title, "geometryType": "bitmap", "tags": []}
                if place == 0:
                    one["bitmap"] = {"data": bitmap(np.ones((height, width))), "origin": [left, top]}
                else:
                    outline = corners(left, top, width - 1, height - 1)
                    one |= {"geometryType": "polygon", "points": {"exterior": outline, "interior": []}}
                objects.append(one)
            write_json(folder / "ann" / f"{name}.json", {"description": "", "size": image.size, "objects": objects})
    classes = [{"title": name, "shape": "any", "color": "#C82828", "id": number} for number, name in enumerate(NAMES)]
    write_json(root / "meta.json", {"classes": classes, "tags": []})
    return root


WRITERS: dict[str, Callable[[Path], Path]] = {
    "coco": write_coco,
    "coco: roboflow": write_coco_roboflow,
    "coco_panoptic": write_coco_panoptic,
    "coco_stuff": write_coco_stuff,
    "yolo": write_yolo,
    "yolo: roboflow": write_yolo_roboflow,
    "cvat": write_cvat,
    "labelme": write_labelme,
    "supervisely": write_supervisely,
}
"""By kind; a second variant of one kind is called ``kind: variant``."""
