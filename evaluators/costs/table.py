"""Exact costs by lookup: each part of a network is counted once, then only looked up.

The count of a network is the sum over its parts (:func:`boostformer.parts.parts`);
:func:`evaluators.costs.counting.count` counts a part when it is first met, and the figure is kept on disk for the next
process.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import nn

import boostformer
from boostformer.architecture import Architecture, BlockSpec
from boostformer.files import cache_folder
from boostformer.layers import Branch
from boostformer.parts import Part
from evaluators.costs import counting, shapes
from evaluators.costs.counting import Cost, count
from evaluators.costs.populations import PartSums

SHARED = Path("shared")
"""Stands for the file in :func:`cache_folder` that all runs of this version of the code share."""


def code_fingerprint() -> str:
    """Hash of the code that decides a count, so that a kept figure never outlives it."""
    root = Path(boostformer.__file__).parent
    digest = hashlib.sha256(torch.__version__.encode())
    code = [root / name for name in ("parts.py", "layers.py", "fold.py")]
    for file in [*sorted((root / "blocks").glob("*.py")), *code, Path(counting.__file__), Path(shapes.__file__)]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


class CostTable(PartSums[Cost]):
    """Costs of parts, and of whole architectures as sums of them.

    They are those of the ``deployed`` (folded) network, or else of the one that is trained. ``file`` keeps the
    counted parts as JSON lines, ``None`` keeps nothing. Several processes may append to it.
    """

    def __init__(self, file: Path | None = SHARED, *, deployed: bool = True) -> None:
        self.file = cache_folder() / f"costs-{code_fingerprint()}.jsonl" if file is SHARED else file
        super().__init__(Cost(0, 0, 0), deployed)
        self._parts: dict[Part, Cost] = {}
        self._stored: dict[str, Cost] = {}
        self._torn = False
        if self.file is not None and self.file.exists():
            content = self.file.read_text()
            for line in content.splitlines():
                try:
                    key, values = json.loads(line)
                except ValueError:  # a line torn by a crash: its part is counted again
                    continue
                self._stored[key] = Cost(*values)
            self._torn = content != "" and not content.endswith("\n")

    def part(self, part: Part) -> Cost:
        """Cost of one part, deployed or not as the part itself says."""
        found = self._parts.get(part)
        if found is None:
            key = part_key(part)
            if key not in self._stored:
                self._stored[key] = self._branch(part) if part.kind in ("mixer", "ffn") else _count(part)
                self._store(key)
            found = self._parts[part] = self._stored[key]
        return found

    def _branch(self, part: Part) -> Cost:
        """The block is counted once; what stands beside it costs no MACs and adds its parameters."""
        bare = replace(part, norm="", scale=False, local_connection=False)
        if part == bare:
            return _count(part)
        cost, (width,) = self.part(bare), part.shape
        keeps_norm, keeps_scale = left_beside(part)
        norm = 0
        if keeps_norm:
            norm = self.part(Part("norm", BlockSpec(part.norm), part.shape, part.inputs)).params
        elif part.norm:
            norm = _absorbing(bare)[0] - cost.params  # biases that were not there before
        scale = width * keeps_scale
        return cost + Cost(norm + scale, 0, 0)

    def columns(self, figure: Cost) -> tuple[int, int, int]:
        return figure.params, figure.conv_linear_macs, figure.attention_macs

    def cost(self, arch: Architecture) -> Cost:
        """Exact cost of a whole network at batch 1: some microseconds once its parts are known."""
        params = conv_linear = attention = 0
        for cost in self.pieces(arch):
            params += cost.params
            conv_linear += cost.conv_linear_macs
            attention += cost.attention_macs
        return Cost(params, conv_linear, attention)

    def _store(self, key: str) -> None:
        if self.file is None:
            return
        cost = self._stored[key]
        line = json.dumps([key, [cost.params, cost.conv_linear_macs, cost.attention_macs]]) + "\n"
        if self._torn:
            line, self._torn = "\n" + line, False
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a") as stream:
                stream.write(line)  # one small append: whole lines, whoever else writes
        except OSError as error:
            warnings.warn(f"counts are not kept for later: {self.file}: {error.strerror}", stacklevel=2)
            self.file = None


def part_key(part: Part) -> str:
    """The part as text: what a kept figure is found by."""
    spec = {"block": part.spec.name, **dict(part.spec.options)}
    beside = [part.norm, part.scale, part.local_connection, part.deployed]
    return json.dumps([part.kind, spec, part.shape, part.inputs, *beside], separators=(",", ":"))


def _count(part: Part) -> Cost:
    with counting.shapes_only():
        module = part.build()
        inputs = [torch.empty(1, *shape) for shape in part.inputs]
    return count(module, inputs) if part.kind == "fusion" else count(module, *inputs)


def left_beside(part: Part) -> tuple[bool, bool]:
    """Whether the norm and the LayerScale of a residual branch stand beside its block, or were folded into it."""
    norm, scale = bool(part.norm), part.scale
    if part.deployed and not part.local_connection:  # which needs the block's input as it is
        _, keeps_norm, keeps_scale = _absorbing(replace(part, norm="", scale=False))
        norm, scale = norm and (keeps_norm or part.norm != "batch"), scale and keeps_scale
    return norm, scale


@cache
def _absorbing(bare: Part) -> tuple[int, bool, bool]:
    """Of a deployed branch with all that a fold may remove: its block's parameters; whether norm and scale stay."""
    with counting.shapes_only():
        module = replace(bare, norm="batch", scale=True).build()
    branch = module if isinstance(module, Branch) else Branch(module)
    params = sum(p.numel() for p in branch.block.parameters())
    return params, not isinstance(branch.norm, nn.Identity), not isinstance(branch.scale, nn.Identity)
