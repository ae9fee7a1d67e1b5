"""Exact costs by lookup: each part of a network is counted once, then only looked up.

The count of a network is the sum over its parts (:func:`boostformer.parts.parts`);
:func:`evaluators.counting.count` counts a part when it is first met, and the figure is kept on disk for the next
process.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import boostformer
from boostformer.architecture import STRIDES, Architecture, BlockSpec, Decoder, Stage
from boostformer.layers import Branch
from boostformer.parts import Part, decoder_parts, stage_parts, stem_part
from evaluators import counting, shapes
from evaluators.counting import Cost, count

SHARED = Path("shared")
"""Stands for the file in :func:`cache_folder` that all runs of this version of the code share."""
_BRANCH = ("norm", "arrangement", "layer_scale")
STAGE_GROUPS = (
    (("width", "embed", "arrangement"), frozenset({"embed", "stage_norm"})),
    (("width", "mixer", *_BRANCH, "local_connection"), frozenset({"mixer"})),
    (("width", "ffn", *_BRANCH), frozenset({"ffn", "norm"})),
)
"""Which fields of a stage decide the cost of which roles of :func:`boostformer.parts.stage_parts`."""
_FIELDS = tuple(attrgetter(*names, "depth") for names, _ in STAGE_GROUPS)
FUSING = frozenset({"fusion", "classify"})
"""The roles of the decoder that do not depend on the widths of the stages."""
_EMBED = 0  # the one group that is there once, not in each layer, and that depends on the width before


def cache_folder() -> Path:
    """``$BOOSTFORMER_CACHE``, or ``boostformer`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("BOOSTFORMER_CACHE") or Path(base) / "boostformer")


def code_fingerprint() -> str:
    """Hash of the code that decides a count, so that a kept figure never outlives it."""
    root = Path(boostformer.__file__).parent
    digest = hashlib.sha256(torch.__version__.encode())
    code = [root / name for name in ("parts.py", "layers.py", "fold.py")]
    for file in [*sorted((root / "blocks").glob("*.py")), *code, Path(counting.__file__), Path(shapes.__file__)]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


class CostTable:
    """Costs of parts, and of whole architectures as sums of them.

    They are those of the ``deployed`` (folded) network, or else of the one that is trained. ``file`` keeps the
    counted parts as JSON lines, ``None`` keeps nothing. Several processes may append to it.
    """

    def __init__(self, file: Path | None = SHARED, *, deployed: bool = True) -> None:
        self.file = cache_folder() / f"costs-{code_fingerprint()}.jsonl" if file is SHARED else file
        self.deployed = deployed
        self._parts: dict[Part, Cost] = {}
        self._groups: dict[Any, Cost] = {}
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
            key = _key(part)
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
        norm = self.part(Part("norm", BlockSpec(part.norm), part.shape, part.inputs)).params if part.norm else 0
        scale = width if part.scale else 0
        if part.deployed and not part.local_connection:  # which needs the block's input as it is
            absorbing, keeps_norm, keeps_scale = _absorbing(bare)
            if part.norm == "batch" and not keeps_norm:
                norm = absorbing - cost.params  # biases that were not there before
            scale *= keeps_scale
        return cost + Cost(norm + scale, 0, 0)

    def cost(self, arch: Architecture) -> Cost:
        """Exact cost of a whole network at batch 1: some microseconds once its parts are known."""
        groups, size, in_width = self._groups, arch.stem_size, 3
        params = conv_linear = attention = 0
        key: Any = (arch.stem, arch.size)
        costs = [groups.get(key) or self._remember(key, self.stem(arch))]
        for i, stage in enumerate(arch.stages):
            for number, fields in enumerate(_FIELDS):
                key = (number, i, size, in_width if number == _EMBED else 0, fields(stage))
                costs.append(groups.get(key) or self._remember(key, self.stage_group(arch, i, number)))
            key = (i, size, stage.width, arch.decoder)
            costs.append(groups.get(key) or self._remember(key, self.decoder_roles(arch, {f"project{i}"})))
            in_width = stage.width
        key = (arch.decoder, size, arch.classes)
        costs.append(groups.get(key) or self._remember(key, self.decoder_roles(arch, FUSING)))
        for cost in costs:
            params += cost.params
            conv_linear += cost.conv_linear_macs
            attention += cost.attention_macs
        return Cost(params, conv_linear, attention)

    def stem(self, arch: Architecture) -> Cost:
        """Cost of the stem."""
        return self.part(stem_part(arch.stem, arch.size, self.deployed))

    def stage_group(self, arch: Architecture, i: int, group: int) -> Cost:
        """Cost of the roles of ``STAGE_GROUPS[group]`` in stage ``i``."""
        in_size = arch.stem_size if i == 0 else arch.map_sizes()[i - 1]
        in_width = 3 if i == 0 else arch.stages[i - 1].width
        listed = stage_parts(arch.stages[i], in_width, STRIDES[i], in_size, self.deployed)
        return self._total(listed, STAGE_GROUPS[group][1])

    def decoder_roles(self, arch: Architecture, roles: Collection[str]) -> Cost:
        """Cost of these roles of :func:`boostformer.parts.decoder_parts`."""
        widths = tuple(stage.width for stage in arch.stages)
        return self._total(decoder_parts(arch.decoder, widths, arch.map_sizes(), arch.classes, self.deployed), roles)

    def _remember(self, key: Any, cost: Cost) -> Cost:
        self._groups[key] = cost
        return cost

    def _total(self, parts: Iterable[tuple[str, Part, int]], roles: Collection[str]) -> Cost:
        total = Cost(0, 0, 0)
        for role, part, times in parts:
            if role in roles:
                total += self.part(part).times(times)
        return total

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


def _key(part: Part) -> str:
    spec = {"block": part.spec.name, **dict(part.spec.options)}
    beside = [part.norm, part.scale, part.local_connection, part.deployed]
    return json.dumps([part.kind, spec, part.shape, part.inputs, *beside], separators=(",", ":"))


def _count(part: Part) -> Cost:
    with counting.shapes_only():
        module = part.build()
        inputs = [torch.empty(1, *shape) for shape in part.inputs]
    return count(module, inputs) if part.kind == "fusion" else count(module, *inputs)


@cache
def _absorbing(bare: Part) -> tuple[int, bool, bool]:
    """Of a deployed branch with all that a fold may remove: its block's parameters; whether norm and scale stay."""
    with counting.shapes_only():
        module = replace(bare, norm="batch", scale=True).build()
    branch = module if isinstance(module, Branch) else Branch(module)
    params = sum(p.numel() for p in branch.block.parameters())
    return params, not isinstance(branch.norm, nn.Identity), not isinstance(branch.scale, nn.Identity)


Slots = Mapping[str, Sequence[Any]]


class PopulationCosts:
    """Costs of whole populations at once, as sums of NumPy gathers.

    ``slots`` lists the variants of each choice of a space (``stages.0.mixer`` -> block specs, …,
    ``decoder.width`` -> widths); ``size`` is the input's (H, W).
    """

    def __init__(self, table: CostTable, slots: Slots, size: tuple[int, int], classes: int) -> None:
        self.slots, self.size, self.classes = slots, size, classes
        self._lookups: list[tuple[list[str], list[int], np.ndarray, str | None]] = []
        self._add(["stem"], table.stem)
        # Where no stem changes the image's size, the costs behind it do not depend on it.
        sizes = {self._architecture({"stem": stem}).stem_size for stem in slots["stem"]}
        stem = ["stem"] if len(sizes) > 1 else []
        for i in range(len(STRIDES)):
            for group, (fields, _) in enumerate(STAGE_GROUPS):
                names = stem + [f"stages.{i}.{field}" for field in fields]
                if group == _EMBED and i > 0:
                    names.append(f"stages.{i - 1}.width")
                times = None if group == _EMBED else f"stages.{i}.depth"
                self._add(names, partial(table.stage_group, i=i, group=group), times)
            names = [*stem, f"stages.{i}.width", "decoder.width", "decoder.fusion"]
            self._add(names, partial(table.decoder_roles, roles={f"project{i}"}))
        self._add([*stem, "decoder.width", "decoder.fusion"], partial(table.decoder_roles, roles=FUSING))

    def _add(self, names: list[str], cost: Callable[[Architecture], Cost], times: str | None = None) -> None:
        """Tabulate a cost that the slots ``names`` alone decide, and that is there once or ``times`` this slot."""
        variants = [self.slots[name] for name in names]
        rows = []
        for values in itertools.product(*variants):
            found = cost(self._architecture(dict(zip(names, values, strict=True))))
            rows.append((found.params, found.conv_linear_macs, found.attention_macs))
        self._lookups.append((names, [len(v) for v in variants], np.array(rows, dtype=np.int64), times))

    def _architecture(self, chosen: dict[str, Any]) -> Architecture:
        """A network with these values, the first variant in every other slot, and one layer in each stage."""
        values = {name: variants[0] for name, variants in self.slots.items()}
        values |= {f"stages.{i}.depth": 1 for i in range(len(STRIDES))} | chosen

        def fields(prefix: str) -> dict[str, Any]:
            return {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)}

        stages = tuple(Stage(**fields(f"stages.{i}.")) for i in range(len(STRIDES)))
        return Architecture(stages, Decoder(**fields("decoder.")), self.classes, self.size, values["stem"])

    def costs(self, indices: Mapping[str, np.ndarray]) -> np.ndarray:
        """(P,) variant index of every slot -> (P, 3): params, conv and linear MACs, attention MACs."""
        total: np.ndarray | None = None
        for names, sizes, table, times in self._lookups:
            row = indices[names[0]].astype(np.int32)
            for name, size in zip(names[1:], sizes[1:], strict=True):
                row = row * size + indices[name]
            found = table.take(row, axis=0)
            if times is not None:
                found *= np.array(self.slots[times]).take(indices[times])[:, None]
            total = found if total is None else np.add(total, found, out=total)
        assert total is not None
        return total
