"""Free axes of exported files: those that a network allows, and the block that fixes one where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.export import Dim

from boostformer.architecture import Architecture
from boostformer.deploy.manifest import Form
from boostformer.deploy.onnx_writer import quiet
from boostformer.errors import UserError
from boostformer.parts import Part, parts

BATCH, HEIGHT, WIDTH = "batch", "height", "width"
"""Names of a graph's free axes."""


def squares(arch: Architecture) -> int:
    """Give the pixels a side that a position of the coarsest map stands for."""
    return arch.size[0] // arch.map_sizes()[-1][0]


def check_size(arch: Architecture, form: Form) -> None:
    """Raise :class:`UserError` where a free size would not be one of whole squares, or torch would fix a single one."""
    square = squares(arch)
    if not form.any_size:
        return
    height, width = arch.size
    fitting = [max(2, -(-side // square)) * square for side in arch.size]
    if fitting != [height, width]:
        raise UserError(
            f"--dynamic: size: sides must be multiples of {square}, from {2 * square} on, not {height}x{width}; export "
            f"with --size {fitting[0]}x{fitting[1]}; the file takes others, too"
        )


def free_axes(form: Form, *steps: int) -> dict[int, Any] | None:
    """Give the free axes of maps (B, C, H, W) as torch's exporter takes them; None where all are fixed.

    ``steps`` are the multiples that height and width are of.
    """
    axes: dict[int, Any] = {0: Dim(BATCH)} if form.any_batch else {}
    if form.any_size:
        axes |= {
            axis: step * Dim(name) if step > 1 else Dim(name)
            for axis, name, step in zip((2, 3), (HEIGHT, WIDTH), steps, strict=True)
        }
    return axes or None


def shapes_to_try(arch: Architecture, form: Form) -> list[tuple[int, ...]]:
    """List input shapes on which a file is compared with its network: its own first, then others that it allows."""
    bands, (height, width), square = arch.bands, arch.size, squares(arch)
    found: list[tuple[int, ...]] = [(1, bands, height, width)]
    if form.any_batch:
        found.append((3, bands, height, width))
    if form.any_size:
        batch = 2 if form.any_batch else 1
        found += [(batch, bands, height + square, width), (1, bands, height + square, width + 2 * square)]
    return found


def refusal(arch: Architecture, form: Form) -> UserError | None:
    """Name the blocks that fix what should be free; None where none does.

    Each part is exported on its own, which takes a second or so.
    """
    fixed = list(dict.fromkeys(name for name, part in _named(arch) if not _is_free(part, arch, form)))
    if not fixed:
        return None
    what = " and ".join(name for name, free in ((BATCH, form.any_batch), ("size", form.any_size)) if free)
    return UserError(
        f"--dynamic: {what} cannot be free, fixed by {', '.join(fixed)}; export a file for each shape, or choose "
        "another block there"
    )


def _named(arch: Architecture) -> Iterator[tuple[str, Part]]:
    for place, part, _ in parts(arch, deployed=True):
        if part.kind == "linear" or (part.kind == "stem" and part.spec.name == "none"):
            continue
        where, _, _ = place.rpartition(".")
        stage = f" (stage {int(where[-1]) + 1})" if where.startswith("stages.") else ""
        yield f"{part.kind} {part.spec.name}{stage}", part


def _is_free(part: Part, arch: Architecture, form: Form) -> bool:
    """Tell whether torch can export a part for any batch, or any size, of its maps."""
    square = squares(arch)
    maps = [torch.zeros(2 if form.any_batch else 1, *shape) for shape in part.inputs]
    axes = [
        free_axes(form, *(square * side // whole for side, whole in zip(shape[1:], arch.size, strict=True)))
        for shape in part.inputs
    ]
    several = part.kind == "fusion"
    try:
        with quiet():
            torch.export.export(
                part.build().eval(), (maps if several else maps[0],), dynamic_shapes=(axes if several else axes[0],)
            )
    except Exception:  # torch has a dozen kinds of saying so
        return False
    return True
