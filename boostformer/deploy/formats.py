"""Other formats than ONNX: torch's own programs, OpenVINO's and ExecuTorch's, each compared with the network."""

from __future__ import annotations

import copy
import importlib
import importlib.metadata
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from boostformer.deploy.export import LOGITS, at_size
from boostformer.deploy.manifest import Form
from boostformer.deploy.onnx_writer import OPSET, quiet, to_onnx
from boostformer.deploy.packaged import Packaged, check_form
from boostformer.deploy.parity import TOLERANCE, Run, difference_of, probe
from boostformer.deploy.record import described, manifest, manifest_of
from boostformer.errors import UserError, nearest
from boostformer.files import check_writable, replacing_together
from boostformer.fold import fold
from boostformer.model import BoostFormer
from boostformer.weights.checkpoint import sha256

ENDINGS = {"pt2": ".pt2", "openvino": ".xml", "executorch": ".pte"}
"""Endings of the formats' files."""
_NEEDED = {
    "openvino": ("openvino",),
    "executorch": (
        "executorch.exir",
        "executorch.backends.xnnpack.partition.xnnpack_partitioner",
        "executorch.runtime",
    ),
}
"""The packages that write and run a format; they come with the extra of its name."""


@dataclass(frozen=True)
class Written:
    """A finished export.

    Attributes:
        shape: of the input.
        file: what was written; OpenVINO's weights lie beside it, ending in ``.bin``.
        manifest: the JSON file beside it.
        made_by: package and version.
        max_difference: as of :class:`boostformer.deploy.export.Exported`.
    """

    shape: tuple[int, ...]
    file: Path
    manifest: Path
    made_by: str
    max_difference: float


def export_format(
    model: BoostFormer,
    file: str | Path,
    fmt: str,
    *,
    size: tuple[int, int] | None = None,
    form: Form = LOGITS,
    probes: int = 3,
    seed: int = 0,
) -> Written:
    """Write the folded network in a format, with one shape, and a manifest beside it.

    What the written file gives is compared with ``model`` as it is.

    Args:
        model: is folded on a copy.
        file: ends as :data:`ENDINGS` says.
        fmt: one of these formats.
        size: (H, W) of the input; by default that at which the network was scored, else its architecture's.
        form: what lies in the file beside the network.
        probes: how many random inputs to compare on.
        seed: of these inputs.

    Raises:
        UserError: the format is unknown or not installed, the form is not possible, or the file cannot be written.
        RuntimeError: the file computes something else; nothing is left behind then.
    """
    file = Path(file)
    if fmt not in ENDINGS:
        raise UserError(f"--format: unknown '{fmt}'; {nearest(fmt, ENDINGS)}")
    if file.suffix != ENDINGS[fmt]:
        raise UserError(f"{file}: the name of a file of format {fmt} must end in {ENDINGS[fmt]}")
    for needed in _NEEDED.get(fmt, ()):
        _package(needed, fmt)
    model = at_size(model.eval(), size)
    arch, said = model.architecture, described(model, form)
    check_form(form, said, OPSET, normalises=model.normalisation is not None)
    check_writable(file)
    shape = (1, arch.bands, *arch.size)
    packaged = Packaged(fold(model), model, form)
    generator = torch.Generator().manual_seed(seed)
    images = [probe(shape, form, generator) for _ in range(probes)]
    with tempfile.TemporaryDirectory() as folder:
        written = [Path(folder) / f"net{ENDINGS[fmt]}"]
        if fmt == "openvino":
            written.append(written[0].with_suffix(".bin"))
            run = _write_openvino(packaged, shape, said, written[0])
            made_by = f"OpenVINO {str(_package('openvino', fmt).__version__).partition('-')[0]}"
        elif fmt == "executorch":
            run = _write_executorch(packaged, shape, written[0])
            made_by = f"ExecuTorch {importlib.metadata.version('executorch')} with XNNPACK"
        else:
            run = _write_program(packaged, shape, written[0])
            made_by = f"torch {torch.__version__}"
        difference = difference_of(model, form, run, images)
        if not difference <= TOLERANCE:
            raise RuntimeError(f"{file.name}: differs from the network by {difference:.2e}, more than {TOLERANCE:.0e}")
        contents = [path.read_bytes() for path in written]
    parity = {"runtime": made_by, "max_relative_difference": difference, "allowed": TOLERANCE, "probes": probes}
    targets = [file.with_suffix(path.suffix) for path in written]
    with replacing_together(*targets, manifest_of(file), parents=True) as parts:
        *places, text = parts
        for place, content in zip(places, contents, strict=True):
            place.write_bytes(content)
        about = {"format": fmt, "made_by": made_by}
        text.write_text(manifest(model, said, file, sha256(places[0]), about, parity | {"seed": seed}))
    return Written(shape, file, manifest_of(file), made_by, difference)


def _write_program(packaged: Packaged, shape: tuple[int, ...], file: Path) -> Run:
    """Write torch's program, and give what runs the file."""
    with quiet():
        torch.export.save(torch.export.export(packaged, (torch.zeros(shape),)), file)
        module = torch.export.load(file).module()

    def run(image: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = module(image)
        return found

    return run


def _write_executorch(packaged: Packaged, shape: tuple[int, ...], file: Path) -> Run:
    """Write ExecuTorch's program for XNNPACK, and give what runs it in its runtime on the CPU."""
    exir, xnnpack, runtime = (_package(name, "executorch") for name in _NEEDED["executorch"])
    # XNNPACK refuses weights that are laid out otherwise.
    plain = copy.deepcopy(packaged).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    with quiet():
        exported = torch.export.export(plain, (torch.zeros(shape),))
        lowered = exir.to_edge_transform_and_lower(exported, partitioner=[xnnpack.XnnpackPartitioner()])
        file.write_bytes(lowered.to_executorch().buffer)
    program = runtime.Runtime.get().load_program(file).load_method("forward")

    def run(image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = program.execute([image.contiguous()])[0]
        return found

    return run


def _write_openvino(packaged: Packaged, shape: tuple[int, ...], said: dict[str, Any], file: Path) -> Run:
    """Write OpenVINO's files by way of ONNX, and give what runs them in single precision on the CPU.

    Args:
        packaged: the network and what lies beside it.
        shape: of its input.
        said: of input and output.
        file: the .xml; the .bin lies beside it.
    """
    openvino = _package("openvino", "openvino")
    graph = to_onnx(packaged, (torch.zeros(shape),), OPSET, [said["input"]["name"]], [said["output"]["name"]])
    onnx.save(graph, source := file.with_suffix(".onnx"))
    openvino.save_model(openvino.convert_model(str(source)), str(file), compress_to_fp16=False)
    compiled = openvino.Core().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda image: torch.from_numpy(np.array(compiled([image.numpy()])[0]))


def _package(name: str, fmt: str) -> Any:
    try:
        with quiet():
            return importlib.import_module(name)
    except ImportError:
        raise UserError(f"--format {fmt} needs the package {fmt}: pip install 'boostformer[{fmt}]'") from None
