"""Other formats than ONNX: torch's own programs, and OpenVINO's, each compared with the network."""

from __future__ import annotations

import importlib
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

ENDINGS = {"pt2": ".pt2", "openvino": ".xml"}
"""Endings of the formats' files."""


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
    openvino = _openvino() if fmt == "openvino" else None
    model = at_size(model.eval(), size)
    arch, said = model.architecture, described(model, form)
    check_form(form, said, OPSET, normalises=model.normalisation is not None)
    check_writable(file)
    shape = (1, arch.bands, *arch.size)
    packaged = Packaged(fold(model), model, form)
    generator = torch.Generator().manual_seed(seed)
    images = [probe(shape, form, generator) for _ in range(probes)]
    with tempfile.TemporaryDirectory() as folder:
        written = [Path(folder) / f"net{ending}" for ending in ((".xml", ".bin") if openvino else (".pt2",))]
        if openvino:
            run = _write_openvino(openvino, packaged, shape, said, written[0])
            made_by = f"OpenVINO {str(openvino.__version__).partition('-')[0]}"
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


def _write_openvino(openvino: Any, packaged: Packaged, shape: tuple[int, ...], said: dict[str, Any], file: Path) -> Run:
    """Write OpenVINO's files by way of ONNX, and give what runs them in single precision on the CPU.

    Args:
        openvino: the package.
        packaged: the network and what lies beside it.
        shape: of its input.
        said: of input and output.
        file: the .xml; the .bin lies beside it.
    """
    graph = to_onnx(packaged, (torch.zeros(shape),), OPSET, [said["input"]["name"]], [said["output"]["name"]])
    onnx.save(graph, source := file.with_suffix(".onnx"))
    openvino.save_model(openvino.convert_model(str(source)), str(file), compress_to_fp16=False)
    compiled = openvino.Core().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda image: torch.from_numpy(np.array(compiled([image.numpy()])[0]))


def _openvino() -> Any:
    try:
        return importlib.import_module("openvino")
    except ImportError:
        raise UserError("--format openvino needs the package openvino: pip install 'boostformer[openvino]'") from None
