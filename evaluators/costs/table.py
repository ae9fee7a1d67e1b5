"""Exact costs by lookup: each part of a network is counted once, then only looked up.

The count of a network is the sum over its parts (:func:`boostformer.parts.parts`);
:func:`evaluators.costs.counting.count` counts a part when it is first met, and the figure is kept on disk for the next
process.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from boostformer.architecture import Architecture, BlockSpec
from boostformer.files import cache_folder
from boostformer.fingerprints import code_fingerprint
from boostformer.layers import Branch
from boostformer.parts import Part
from evaluators.costs.counting import Cost, count, shapes_only
from evaluators.costs.kept import KeptCosts, read_rows, write_rows
from evaluators.costs.populations import PartSums, check_countable

CODE = (
    *(f"boostformer/{name}" for name in ("blocks/*.py", "architecture.py", "parts.py", "layers.py", "fold.py")),
    *(f"evaluators/costs/{name}.py" for name in ("counting", "shapes", "populations", "table", "kept")),
)
"""The code that decides a count: counts are kept with its fingerprint."""
SHARED = Path("shared")
"""Stands for the file in :func:`cache_folder` that all processes with the same code share."""


class CostTable(PartSums[Cost]):
    """Costs of parts, and of whole architectures as sums of them.

    Args:
        file: where counted parts are kept (:class:`KeptCosts`), and beside it the tables of populations; None keeps
            nothing.
        deployed: whether the deployed (folded) network is counted, or the one that is trained.
    """

    def __init__(self, file: Path | None = SHARED, *, deployed: bool = True) -> None:
        super().__init__(Cost(), deployed)
        self._kept = KeptCosts(cache_folder() / f"costs-{code_fingerprint(*CODE)}.txt" if file is SHARED else file)
        self._parts: dict[Part, Cost] = {}

    def part(self, part: Part) -> Cost:
        """Give the cost of one part, deployed or not as the part itself says."""
        found = self._parts.get(part)
        if found is None:
            key = part_key(part)
            found = self._kept.get(key)
            if found is None:
                found = countable(self._branch(part) if part.kind in ("mixer", "ffn") else _count(part))
                self._kept.add(key, found)
            self._parts[part] = found
        return found

    def _branch(self, part: Part) -> Cost:
        """Count the block alone, and add the parameters of what stands beside it, which costs no MACs."""
        bare = replace(part, norm="", scale=False, local_connection=False)
        if part == bare:
            return _count(part)
        cost, (width,) = self.part(bare), part.shape
        keeps_norm, keeps_scale = left_beside(part)
        norm = 0
        if keeps_norm:
            norm = self.part(Part("norm", BlockSpec(part.norm), part.shape, part.inputs)).params
        elif part.norm:
            norm = _absorbing(replace(bare, inputs=()))[0] - cost.params  # biases that the fold adds
        scale = width * keeps_scale
        return cost + Cost(params=norm + scale)

    def columns(self, figure: Cost) -> tuple[int, ...]:
        return figure.values

    def kept_rows(self, population: str, count: int) -> np.ndarray | None:
        file = self._rows_file(population)
        return read_rows(file, count) if file else None

    def keep_rows(self, population: str, rows: np.ndarray) -> None:
        if file := self._rows_file(population):
            write_rows(file, rows)

    def _rows_file(self, population: str) -> Path | None:
        parts = self._kept.file
        digest = hashlib.sha256(population.encode()).hexdigest()[:16]
        return parts.with_name(f"{parts.stem}-{digest}.rows") if parts else None

    def cost(self, arch: Architecture) -> Cost:
        """Give the exact cost of a network at batch 1: some microseconds once its parts are known."""
        return countable(Cost(*map(sum, zip(*(cost.values for cost in self.pieces(arch)), strict=True))))


def countable(cost: Cost) -> Cost:
    """Give ``cost`` back; :class:`UserError` where it is more than the arrays of populations and databases hold."""
    check_countable(max(cost.values))
    return cost


def costs_of(arch: Architecture) -> dict[str, Any]:
    """Give what is kept with weights: parameters and MACs, as trained and as deployed, at ``size`` (H, W)."""
    trained, deployed = CostTable(deployed=False).cost(arch), CostTable().cost(arch)
    forms = {"trained": trained, "deployed": deployed}
    return {"size": list(arch.size)} | {name: {"params": c.params, "macs": c.macs} for name, c in forms.items()}


def part_key(part: Part) -> str:
    """Write the part as text, by which a kept figure is found."""
    spec = {"block": part.spec.name, **dict(part.spec.options)}
    beside = [part.norm, part.scale, part.local_connection, part.deployed]
    return json.dumps([part.kind, spec, part.shape, part.inputs, *beside], separators=(",", ":"))


def _count(part: Part) -> Cost:
    module = empty_module(replace(part, inputs=()))
    inputs = [torch.empty(1, *shape, device="meta") for shape in part.inputs]
    return count(module, inputs) if part.kind == "fusion" else count(module, *inputs)


@lru_cache(maxsize=16)
def empty_module(part: Part) -> nn.Module:
    """Build a part, given without its inputs, on the meta device: behind several stems one is counted several times."""
    with shapes_only():
        return part.build()


def left_beside(part: Part) -> tuple[bool, bool]:
    """Tell whether the norm and the LayerScale of a residual branch stand beside its block, and were not folded."""
    norm, scale = bool(part.norm), part.scale
    if part.deployed and not part.local_connection:  # a local connection needs the block's input as it is
        _, keeps_norm, keeps_scale = _absorbing(replace(part, norm="", scale=False, inputs=()))
        norm, scale = norm and (keeps_norm or part.norm != "batch"), scale and keeps_scale
    return norm, scale


@cache
def _absorbing(bare: Part) -> tuple[int, bool, bool]:
    """Fold a branch with all that may be folded: give its block's parameters, and whether norm and scale stay."""
    with shapes_only():
        module = replace(bare, norm="batch", scale=True).build()
    branch = module if isinstance(module, Branch) else Branch(module)
    params = sum(p.numel() for p in branch.block.parameters())
    return params, not isinstance(branch.norm, nn.Identity), not isinstance(branch.scale, nn.Identity)
