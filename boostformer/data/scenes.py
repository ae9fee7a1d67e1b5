"""Generated scenes: the embedded data set, built so that networks of different reach score differently.

A scene is a grid of 3 x 4 cells on a noisy two-colour gradient; each cell holds at most one object.
Classes come in pairs, and the members of a pair differ in one thing only:

| classes | differ in | the same for both |
|---|---|---|
| ``stripes``, ``checks`` | local texture: bars or squares | outlines, both tones, share of each tone |
| ``disc``, ``square`` | outline | area, colour, noise |
| ``gem_warm``, ``gem_cold`` | the colour of the markers at the opposite edge | every pixel of the gem |
| ``marker``, ``background`` | | |

Gems stand in an outermost column and markers in every cell of the opposite one, so that at least half the
image's width lies between them. A network that sees less can only guess between the two gem classes, which
is an intersection over union of about 1/3. A scene is a function of (seed, split, index, size) alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from boostformer.data.config import Fit, SceneCounts, SplitName
from boostformer.data.images import Array
from boostformer.data.split import SegmentationSplit
from boostformer.data.summary import ClassCount, DataSummary, Sizes
from boostformer.errors import UserError

CLASSES = ("background", "stripes", "checks", "disc", "square", "gem_warm", "gem_cold", "marker")
PAIRS = (("stripes", "checks"), ("disc", "square"), ("gem_warm", "gem_cold"))
VERSION = 1  # part of every seed

_ROWS, _COLUMNS = 3, 4
_SPLITS = {"training": 0, "validation": 1}
_TONES = np.array([[70, 150, 70], [190, 120, 190]], float)
_PLAIN = np.array([220, 200, 90], float)
_GEM = np.array([230, 230, 235], float)
_MARKER = {"gem_warm": np.array([215, 70, 40], float), "gem_cold": np.array([40, 90, 215], float)}
_NOISE = 6.0  # standard deviation of a pixel, in grey levels


@dataclass(frozen=True)
class Thing:
    """One object: its class, its cell, and how it sits there. ``offset`` and ``radius`` are in cell sides."""

    kind: str
    row: int
    column: int
    offset: tuple[float, float]
    radius: float
    outline: str
    vertical: bool = False


@dataclass(frozen=True)
class Layout:
    """All that is drawn but the noise. ``gem`` is the class of every gem, which the markers' colour tells."""

    things: tuple[Thing, ...]
    gem: Literal["gem_warm", "gem_cold"]
    sky: NDArray[np.float64]
    noise_seed: tuple[int, ...]


def draw_layout(seed: int, split: str, index: int) -> Layout:
    """The scene ``index`` of a split, before it is drawn."""
    key = (VERSION, seed, _SPLITS[split], index)
    rng = np.random.default_rng(key)
    gem = PAIRS[2][rng.integers(2)]
    gem_column = int(rng.integers(2)) * (_COLUMNS - 1)
    opposite = _COLUMNS - 1 - gem_column

    def thing(kind: str, row: int, column: int) -> Thing:
        outline = {"disc": "disc", "square": "square", "marker": "square"}.get(kind, "diamond")
        if kind in PAIRS[0]:
            outline = ("disc", "square")[rng.integers(2)]
        offset = (rng.uniform(-0.08, 0.08), rng.uniform(-0.08, 0.08))
        return Thing(kind, row, column, offset, rng.uniform(0.28, 0.36), outline, bool(rng.integers(2)))

    rows = rng.permutation(_ROWS)
    things = [thing(gem, int(rows[0]), gem_column)]
    if rng.integers(2):
        things.append(thing(gem, int(rows[1]), gem_column))
    # One in every row: a cue of a single cell is too faint to be learnt in a proxy's few iterations.
    things += [thing("marker", row, opposite) for row in range(_ROWS)]
    taken = {(one.row, one.column) for one in things}
    free = [(r, c) for r in range(_ROWS) for c in range(_COLUMNS) if (r, c) not in taken]
    kinds = [kind for pair in PAIRS[:2] for kind in rng.choice(pair, size=2)]
    for kind, cell in zip(kinds, rng.permutation(len(free)), strict=False):
        things.append(thing(kind, *free[cell]))
    return Layout(tuple(things), gem, rng.uniform(90, 150, (2, 3)), (*key, 1))  # type: ignore[arg-type]


def render(layout: Layout, size: tuple[int, int]) -> tuple[Array, Array]:
    """Draw a scene: ``(image (H, W, 3), label (H, W))``, both uint8."""
    height, width = size
    slope = np.linspace(0, 1, height)[:, None, None]
    canvas = np.empty((height, width, 3))
    canvas[:] = layout.sky[0] * (1 - slope) + layout.sky[1] * slope
    label = np.zeros(size, np.uint8)
    y, x = np.mgrid[:height, :width]
    side = min(height / _ROWS, width / _COLUMNS)
    for thing in layout.things:
        centre_y = (thing.row + 0.5) * height / _ROWS + thing.offset[0] * side
        centre_x = (thing.column + 0.5) * width / _COLUMNS + thing.offset[1] * side
        box = _window(centre_y, centre_x, 0.6 * side, size)
        inside = _inside(thing.outline, y[box] - centre_y, x[box] - centre_x, thing.radius * side)
        canvas[box][inside] = _paint(thing, layout.gem, y[box], x[box], side)[inside]
        label[box][inside] = CLASSES.index(thing.kind)
    noise = np.random.default_rng(layout.noise_seed).standard_normal(canvas.shape, np.float32)
    return np.clip(canvas + _NOISE * noise, 0, 255).astype(np.uint8), label


def _window(y: float, x: float, reach: float, size: tuple[int, int]) -> tuple[slice, slice]:
    top, left = max(0, int(y - reach)), max(0, int(x - reach))
    return slice(top, min(size[0], int(y + reach) + 2)), slice(left, min(size[1], int(x + reach) + 2))


def _inside(outline: str, dy: NDArray, dx: NDArray, radius: float) -> NDArray[np.bool_]:
    """Outlines of equal area: pi radius²."""
    if outline == "disc":
        return dy**2 + dx**2 <= radius**2
    half = radius * np.sqrt(np.pi) / 2
    if outline == "square":
        return np.maximum(abs(dy), abs(dx)) <= half
    return abs(dy) + abs(dx) <= half * np.sqrt(2)


def _paint(thing: Thing, gem: str, y: NDArray, x: NDArray, side: float) -> NDArray[np.float64]:
    """Colours (h, w, 3) of the window around one object."""
    if thing.kind in PAIRS[0]:
        bar = max(2, round(side / 12))  # pixels; both textures repeat after two bars
        rows, columns = y // bar % 2, x // bar % 2
        stripes = columns if thing.vertical else rows
        return _TONES[stripes if thing.kind == "stripes" else rows ^ columns]
    colour = {"marker": _MARKER[gem], gem: _GEM}.get(thing.kind, _PLAIN)
    return np.broadcast_to(colour, (*y.shape, 3))


class Scenes(SegmentationSplit):
    """Generated scenes of one split, as many as ``counts`` say, drawn at network scale whenever they are asked for."""

    fit: Fit = "exact"

    def __init__(self, split: SplitName, counts: SceneCounts, size: tuple[int, int]) -> None:
        if split == "test":
            raise UserError("generated scenes have no test part; another `seed` of them draws others to validate on")
        self.labels, self.size = list(CLASSES), size
        self._split, self._count, self._seed = split, getattr(counts, split), counts.seed
        images: dict[SplitName, int] = {"training": counts.training, "validation": counts.validation}
        classes = [ClassCount(name) for name in CLASSES]
        self.summary = DataSummary("generated scenes", images, Sizes(size, size, size, 1), classes, {}, {})

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        return f"{self._split}_{index:05d}"

    def image(self, index: int) -> Array:
        return self.pair(index)[0]

    def label(self, index: int) -> Array:
        return self.pair(index)[1]

    def pair(self, index: int) -> tuple[Array, Array]:
        return render(draw_layout(self._seed, self._split, index), self.size)

    def digest(self, index: int) -> bytes:
        return hashlib.sha256(repr((VERSION, self._seed, self._split, index)).encode()).digest()

    def fingerprint(self) -> Iterable[str]:
        yield f"scenes split {self._split} count {self._count} seed {self._seed}"
