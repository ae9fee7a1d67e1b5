"""Use an exported network without boostformer: `python run_onnx.py net.onnx photo.png classes.png`.

NumPy, onnxruntime and Pillow suffice: the file itself says how images become its input and what its output means.
Images of more than 8 bits need one step before: `levels` in `input` are the numbers that become 0 and 255.
"""

import json
import math
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def predict(file, image):
    """Give the class number of each pixel (h, w) of an image, uint8 (h, w, bands)."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map  # the same values are in FILE.manifest.json
    told, output = json.loads(said["input"]), json.loads(said["output"])
    (h, w), (height, width) = image.shape[:2], told["shape"][2:]

    def run(pixels):
        x = (pixels / 255 - told["mean"]) / told["std"]
        return session.run(None, {told["name"]: x.transpose(2, 0, 1)[None].astype(np.float32)})[0][0]

    if told["fit"] == "tile":
        logits, square = windows(run, image, told), told["square"]
        return resize(logits, logits.shape[0] * square, logits.shape[1] * square)[:h, :w].argmax(2)
    if (h, w) != (height, width):
        image = resize(image, height, width, area=height < h and width < w).round()
    found = run(image)
    if output["kind"] == "logits":
        return resize(found.transpose(1, 2, 0), h, w).argmax(2)
    return found[np.arange(h) * height // h][:, np.arange(w) * width // w]


def resize(values, height, width, area=False):
    """Resize (h, w, n) as the mean over areas, or bilinearly."""
    rows, columns = shares(height, values.shape[0], area), shares(width, values.shape[1], area)
    return np.einsum("Hh,hwn,Ww->HWn", rows, values.astype(np.float32), columns, optimize=True)


def shares(new, old, area):
    """Say how much of each old pixel is in each new one: (new, old)."""
    if area:
        edges, pixels = np.arange(new + 1) * old / new, np.arange(old)
        common = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
        return (common.clip(0) * new / old).astype(np.float32)
    places = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
    return (1 - abs(places[:, None] - np.arange(old))).clip(0).astype(np.float32)


def windows(run, image, told):
    """Average the logits of overlapping windows: (rows, columns, classes), each for `square` pixels a side."""
    square, sides = told["square"], [length // told["square"] for length in told["shape"][2:]]
    lengths = [math.ceil(length / square) for length in image.shape[:2]]
    starts = []
    for length, side in zip(lengths, sides, strict=True):
        room, stride = max(0, length - side), max(1, math.floor(side * (1 - told["overlap"])))
        count = math.ceil(room / stride) + 1
        starts.append([room * i // max(1, count - 1) for i in range(count)])
    high, wide = (places[-1] + side for places, side in zip(starts, sides, strict=True))
    seen = np.zeros((high * square, wide * square, image.shape[2]), np.uint8)
    seen[: image.shape[0], : image.shape[1]] = image
    total, times = 0, np.zeros((high, wide, 1))
    for y, x in ((y, x) for y in starts[0] for x in starts[1]):
        place = slice(y, y + sides[0]), slice(x, x + sides[1])
        logits = run(seen[y * square :, x * square :][: told["shape"][2], : told["shape"][3]]).transpose(1, 2, 0)
        total = np.zeros((high, wide, logits.shape[2])) if y == x == 0 else total
        total[place] += logits
        times[place] += 1
    return (total / times)[: lengths[0], : lengths[1]]


if __name__ == "__main__":
    net, photo, out = sys.argv[1:]
    upright = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
    Image.fromarray(predict(net, np.asarray(upright)).astype(np.uint8)).save(out)
