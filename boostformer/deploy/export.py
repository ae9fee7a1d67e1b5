"""Export to ONNX: checked, compared with the network itself, described by a manifest."""

from __future__ import annotations

import contextlib
import copy
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch

from boostformer.architecture import Architecture
from boostformer.blocks.registry import complete
from boostformer.deploy.agreement import LOSS, PIXELS, Agreement, Pictures, agreement, made_pictures
from boostformer.deploy.dynamic import check_size, free_axes, refusal, shapes_to_try, squares
from boostformer.deploy.manifest import Form, scored_shape
from boostformer.deploy.mobile import left_on_cpu
from boostformer.deploy.onnx_network import OnnxNetwork
from boostformer.deploy.onnx_writer import OPSET, OPSETS, opset_of, to_onnx
from boostformer.deploy.packaged import Packaged, check_form
from boostformer.deploy.parity import TOLERANCE, difference_of, probe, runner
from boostformer.deploy.record import describe, described, manifest, manifest_of
from boostformer.errors import UserError
from boostformer.files import check_writable, replacing_together
from boostformer.fold import fold
from boostformer.model import BoostFormer
from boostformer.weights.checkpoint import sha256

LOGITS = Form()


@dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes:
        shape: of the input.
        file: the ONNX file.
        manifest: the JSON file beside it.
        opset: of the file.
        nodes: of its graph.
        max_difference: the largest absolute difference of a logit over the probes, divided by the largest logit; of
            labels the most by which the logit of a class that was chosen is below the highest.
        agreement: in half precision, on images.
        left_on_cpu: of a graph for phones, by provider, the operators of the nodes that it does not take.
    """

    shape: tuple[int, ...]
    file: Path
    manifest: Path
    opset: int
    nodes: int
    max_difference: float
    agreement: Agreement | None = None
    left_on_cpu: dict[str, Counter[str]] | None = None


def export_onnx(
    model: BoostFormer,
    file: str | Path,
    *,
    opset: int = OPSET,
    size: tuple[int, int] | None = None,
    form: Form = LOGITS,
    pictures: Pictures | None = None,
    probes: int = 3,
    seed: int = 0,
) -> Exported:
    """Write the folded network and ``FILE.manifest.json`` beside it.

    What the file gives in ONNX Runtime is compared with ``model`` as it is, not folded.

    Args:
        model: is folded on a copy.
        file: ends in ``.onnx``.
        opset: one of :data:`OPSETS`.
        size: (H, W) of the input; by default that at which the network was scored, else its architecture's.
        form: what lies in the file beside the network, and how.
        pictures: what a file in half precision is compared on; by default on made scenes.
        probes: how many random inputs to compare on, of each shape that is tried.
        seed: of these inputs.

    Raises:
        UserError: the opset is unknown, the form is not possible for this network, the file cannot be written, or in
            half precision it does not stand for the network.
        RuntimeError: the file does not hold what was asked; nothing is left behind then.
    """
    file = Path(file)
    if opset not in OPSETS:
        raise UserError(f"--opset: {opset} cannot be written; allowed: {', '.join(map(str, OPSETS))}")
    if file.suffix != ".onnx":
        raise UserError(f"{file}: the name of an exported file must end in .onnx")
    model = at_size(model.eval(), size)
    arch, said = model.architecture, described(model, form)
    check_form(form, said, opset, normalises=model.normalisation is not None)
    check_size(arch, form)
    check_writable(file)
    shapes = shapes_to_try(arch, form)
    packaged = Packaged(fold(model), model, form)
    graph = _graph(packaged, arch, form, opset, said)
    describe(graph, model, said)
    generator = torch.Generator().manual_seed(seed)
    images = [probe(shape, form, generator) for shape in shapes for _ in range(probes)]
    with _free_in(arch, form):  # an axis that was fixed without a word shows when it runs
        difference = difference_of(model, form, runner(graph), images)
    if not form.half and not difference <= TOLERANCE:
        raise RuntimeError(
            f"{file.name}: ONNX Runtime differs from the network by {difference:.2e}, more than {TOLERANCE:.0e}"
        )
    agreed = _agreement(model, graph, pictures, file.name) if form.half else None
    operators = Counter(node.op_type for node in graph.graph.node)
    result = Exported(
        shapes[0],
        file,
        manifest_of(file),
        opset_of(graph),
        operators.total(),
        difference,
        agreement=agreed,
        left_on_cpu=left_on_cpu(graph) if form.mobile else None,
    )
    about = {"opset": result.opset, "nodes": result.nodes, "operators": dict(operators)}
    if result.left_on_cpu is not None:
        about |= {"target": "mobile", "left_on_cpu": {key: dict(value) for key, value in result.left_on_cpu.items()}}
    parity = {
        "runtime": f"onnxruntime {onnxruntime.__version__} CPU",
        "max_relative_difference": difference,
        "allowed": None if form.half else TOLERANCE,
        "shapes": [list(shape) for shape in shapes],
        "probes": probes,
        "seed": seed,
        "images": agreed and agreed.to_dict(),
    }
    with replacing_together(file, result.manifest, parents=True) as (part, text):
        part.write_bytes(graph.SerializeToString())
        text.write_text(manifest(model, said, file, sha256(part), about, parity))
    return result


def _graph(packaged: Packaged, arch: Architecture, form: Form, opset: int, said: dict[str, Any]) -> onnx.ModelProto:
    """Export what a file holds.

    Args:
        packaged: the folded network and what lies beside it.
        arch: its architecture, at the file's size.
        form: of the file.
        opset: of the graph.
        said: of its input and output.
    """
    example = torch.zeros(2 if form.any_batch else 1, arch.bands, *arch.size)
    names = [said["input"]["name"]], [said["output"]["name"]]
    axes = free_axes(form, *[squares(arch)] * 2)
    with _free_in(arch, form):
        return to_onnx(packaged, (example,), opset, *names, axes=(axes,) if axes else None, mobile=form.mobile)


@contextlib.contextmanager
def _free_in(arch: Architecture, form: Form) -> Iterator[None]:
    """Say of free axes, where they cannot be, which block fixes them, or else what went wrong."""
    try:
        yield
    except Exception as error:
        if not (form.any_batch or form.any_size):
            raise
        if refused := refusal(arch, form):
            raise refused from None
        if not type(error).__module__.startswith(("torch.", "onnx")):  # a bug keeps its traceback
            raise
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"--dynamic: {reason}; another --opset, or fixed axes, may do") from None


def _agreement(model: BoostFormer, graph: onnx.ModelProto, pictures: Pictures | None, name: str) -> Agreement:
    """Compare a graph in half precision with the network on images; :class:`UserError` where it does not stand for it.

    Args:
        model: the network, at the graph's size.
        graph: what was exported of it.
        pictures: the images; by default made scenes.
        name: the file's, for messages.
    """
    arch = model.architecture
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(graph, file := Path(folder) / "half.onnx")
        exported = OnnxNetwork(file)
        tile = exported.fit == "tile"
        found = agreement(
            model,
            exported,
            pictures or made_pictures(arch.bands, arch.size),
            arch.size,
            "tile" if tile else "exact",
            exported.overlap,
        )
    if not found.holds:
        raise UserError(
            f"{name}: half precision does not suffice: {found}; at least {PIXELS:.0%} of the pixels and at most "
            f"{100 * LOSS:.0f} point of mIoU less are required; export without --fp16"
        )
    return found


def at_size(model: BoostFormer, size: tuple[int, int] | None) -> BoostFormer:
    """Give the network at ``size`` or at the shape that was scored; UserError when a block does not allow that."""
    scored = scored_shape(model.provenance)
    wanted = size or scored or model.architecture.size
    if wanted == model.architecture.size:
        return model
    where = "--size" if size else f"{wanted[0]}x{wanted[1]}, at which it was scored (--size asks for another)"
    model = copy.copy(model)
    model.architecture = complete(model.architecture.replace(size=wanted), where)
    return model
