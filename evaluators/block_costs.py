"""Costs and milliseconds of each registered block, all at the same reference shape."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from boostformer.architecture import RGB_BANDS, STRIDES, BlockSpec
from boostformer.blocks import registry
from boostformer.files import cache_folder, replacing
from boostformer.fingerprints import code_fingerprint
from boostformer.parts import Part
from evaluators.costs.counting import Cost
from evaluators.costs.table import CostTable
from evaluators.latency.backend import Measured
from evaluators.latency.graphs import CODE as GRAPH_CODE
from evaluators.latency.host import HostMeter, processor

WIDTH, SIZE = 64, (32, 32)
"""Channels and map of the reference shape: an embed makes it, of 32 channels; a fusion has it as its finest map."""
STEM_SIZE = (128, 128)
REFERENCE = f"{WIDTH} channels at {SIZE[0]}x{SIZE[1]}; an embed from 32 channels at 64x64, a stem at 128x128"
METER = HostMeter()
CODE = (*GRAPH_CODE, "evaluators/latency/host.py", "evaluators/block_costs.py")
"""Files that decide a block's milliseconds: figures are kept with their fingerprint."""


@dataclass(frozen=True)
class BlockCost:
    """Costs of one block with its default options, trained and deployed, and the latency of the deployed form."""

    trained: Cost
    deployed: Cost
    latency: Measured | None


def reference_part(declaration: registry.Declaration) -> Part:
    """Describe the block with its defaults at the reference shape."""
    spec = BlockSpec.of(declaration.name, **declaration.defaults)
    height, width = SIZE
    maps = tuple((WIDTH, height // 2**i, width // 2**i) for i in range(len(STRIDES)))
    shape, inputs = {
        "stem": ((RGB_BANDS,), ((RGB_BANDS, *STEM_SIZE),)),
        "embed": ((WIDTH // 2, WIDTH, 2), ((WIDTH // 2, 2 * height, 2 * width),)),
        "fusion": ((WIDTH, len(STRIDES)), maps),
    }.get(declaration.kind, ((WIDTH,), ((WIDTH, *SIZE),)))
    return Part(declaration.kind, spec, shape, inputs)


def block_costs(progress: Callable[[str], None] | None = None, *, fresh: bool = False) -> list[BlockCost]:
    """Cost each of :func:`boostformer.blocks.registry.declarations`, in order.

    Milliseconds are measured in ONNX Runtime the first time, or when ``fresh``, and kept for the same code, runtime
    and processor. ``progress`` is called with the name of each block before; without it none are measured.
    """
    parts = [reference_part(declaration) for declaration in registry.declarations()]
    trained, deployed = CostTable(deployed=False), CostTable()
    measured = _latencies(parts, progress, fresh) if progress else {}
    return [
        BlockCost(trained.part(part), deployed.part(replace(part, deployed=True)), measured.get(_name(part)))
        for part in parts
    ]


def _name(part: Part) -> str:
    return f"{part.kind} {part.spec.name}"


def _latencies(parts: list[Part], progress: Callable[[str], None], fresh: bool) -> dict[str, Measured]:
    import onnxruntime  # both take their time, which a list without milliseconds does not need

    from boostformer.deploy.onnx_writer import to_onnx

    key = hashlib.sha256(f"{code_fingerprint(*CODE)} {onnxruntime.__version__} {processor()} {parts}".encode())
    file = cache_folder() / f"blocks-{key.hexdigest()[:16]}.json"
    names = [_name(part) for part in parts]
    if not fresh and (kept := _read(file, names)) is not None:
        return kept
    graphs = {}
    for name, part in zip(names, parts, strict=True):
        progress(name)
        torch.manual_seed(0)
        module = replace(part, deployed=True).build().eval()
        inputs = [torch.zeros(1, *shape) for shape in part.inputs]
        graphs[name] = to_onnx(module, (inputs,) if part.kind == "fusion" else tuple(inputs))
    progress("all of them in turns")
    found = METER.measure(graphs)
    values = {name: value.to_dict() for name, value in found.items()}
    with replacing(file, parents=True) as new:
        new.write_text(json.dumps({"checksum": _checksum(values), "latencies": values}))
    return found


def _read(file: Path, names: list[str]) -> dict[str, Measured] | None:
    """Read the kept latencies of the blocks; None without them, and with a warning where they are damaged."""
    try:
        content = json.loads(file.read_bytes())
        values = content["latencies"]
        if content["checksum"] != _checksum(values):
            raise ValueError("the checksum is another")
        return {name: Measured.from_dict(values[name]) for name in names}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        warnings.warn(f"{file}: damaged, and measured anew", stacklevel=4)
        return None


def _checksum(values: object) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
