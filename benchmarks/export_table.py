"""Runtimes that take each block, by opset: `python -m benchmarks.export_table [--only NAME] > table.md`.

Every registered block with its defaults and another value of each option, deployed, alone in a graph; each is compared
with torch. OpenVINO is left out where it is not installed (`pip install openvino`).
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from torch import Tensor, nn

import boostformer.blocks  # noqa: F401  (registers them)
from boostformer.architecture import BlockSpec
from boostformer.blocks import registry
from boostformer.deploy.onnx_writer import OPSETS, to_onnx
from boostformer.deploy.parity import session_of
from boostformer.fold import fold

WIDTHS = (32, 48, 40, 80, 96, 480)
"""Widths; a block gets the first that all of its options divide."""
SHAPE = (16, 24)
BANDS, IN_WIDTH, STRIDE, MAPS = 3, 8, 2, 4
EXACT, HALF = 1e-4, 2e-2
"""Largest difference, relative to the largest value: in single precision, and with weights and maps in half."""
Run = Callable[[onnx.ModelProto, list[np.ndarray]], list[np.ndarray]]


def cases(declaration: registry.Declaration) -> Iterator[tuple[str, nn.Module, list[Tensor]]]:
    """Build a block with its defaults, then with another value of each option: name, deployed module, inputs."""
    first = BlockSpec.of(declaration.name, **declaration.defaults)
    chosen = [first]
    for name, option in declaration.options.items():
        others = [value for value in option.allowed if value != declaration.defaults[name]]
        chosen += [BlockSpec.of(declaration.name, **(declaration.defaults | {name: value})) for value in others[-1:]]
    for spec in chosen:
        fitting = [width for width in WIDTHS if not declaration.refusal(width, SHAPE, dict(spec.options))]
        if not fitting:
            continue
        width = fitting[0]
        shape = {"stem": (BANDS,), "embed": (IN_WIDTH, width, STRIDE), "fusion": (width, MAPS)}.get(
            declaration.kind, (width,)
        )
        torch.manual_seed(0)
        module = registry.construct(declaration.kind, spec, *shape).eval()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        channels = {"stem": BANDS, "embed": IN_WIDTH}.get(declaration.kind, width)
        several = MAPS if declaration.kind == "fusion" else 1
        maps = [torch.randn(1, channels, *(-(-side // 2**i) for side in SHAPE)) for i in range(several)]
        changed = [f"{key} {value}" for key, value in spec.options if declaration.defaults[key] != value]
        yield ", ".join(changed) or "defaults", fold(module), maps


class Listed(nn.Module):
    """A block as a function of a list of maps, in half precision if wanted."""

    def __init__(self, block: nn.Module, several: bool, half: bool = False) -> None:
        super().__init__()
        self.block, self.several, self.half_inside = block.half() if half else block, several, half

    def forward(self, maps: list[Tensor]) -> Tensor:
        maps = [x.half() for x in maps] if self.half_inside else maps
        found: Tensor = self.block(maps if self.several else maps[0])
        return found.float()


def onnx_runtime(graph: onnx.ModelProto, maps: list[np.ndarray]) -> list[np.ndarray]:
    session = session_of(graph)
    return session.run(None, dict(zip([item.name for item in session.get_inputs()], maps, strict=True)))  # type: ignore[no-any-return]


def opencv(graph: onnx.ModelProto, maps: list[np.ndarray]) -> list[np.ndarray]:
    net = cv2.dnn.readNetFromONNX(np.frombuffer(graph.SerializeToString(), np.uint8))
    for item, x in zip(graph.graph.input, maps, strict=True):
        net.setInput(x, item.name)
    return [np.asarray(net.forward())]


def openvino(graph: onnx.ModelProto, maps: list[np.ndarray]) -> list[np.ndarray]:
    core = importlib.import_module("openvino")
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(graph, file := Path(folder) / "block.onnx")
        compiled = core.Core().compile_model(core.convert_model(str(file)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return [np.array(compiled(maps)[0])]


RUNTIMES: dict[str, Run] = {"ONNX Runtime": onnx_runtime, "OpenVINO": openvino, "OpenCV": opencv}


def holds(run: Run, graph: onnx.ModelProto, maps: list[np.ndarray], expected: np.ndarray, allowed: float) -> str:
    """Run a graph: "" where it gives what is expected, else why not.

    Args:
        run: the runtime.
        graph: of a block.
        maps: its inputs.
        expected: what torch gives.
        allowed: largest relative difference.
    """
    try:
        (found,) = run(graph, maps)
    except Exception as error:  # each runtime has its own
        return f"refused: {str(error).strip().splitlines()[-1][:200]}"
    if found.shape != expected.shape:
        return f"shape {found.shape}"
    difference = float(np.abs(found - expected).max() / np.abs(expected).max())
    return "" if difference <= allowed else f"differs by {difference:.1e}"


def rows(only: list[str], opsets: list[int]) -> Iterator[dict[str, Any]]:
    """Try blocks, by default every one, at opsets."""
    runtimes = {
        name: run for name, run in RUNTIMES.items() if name != "OpenVINO" or importlib.util.find_spec("openvino")
    }
    for declaration in registry.declarations():
        if only and declaration.name not in only:
            continue
        for opset in opsets:
            row: dict[str, list[str]] = {"strict": [], **{name: [] for name in runtimes}, "FP16": []}
            for name, block, maps in cases(declaration):
                several, arrays = declaration.kind == "fusion", [x.numpy() for x in maps]
                with torch.no_grad():
                    expected = Listed(block, several)(maps).numpy()
                try:
                    graph = to_onnx(Listed(block, several).eval(), (maps,), opset)
                    half = to_onnx(Listed(copy.deepcopy(block), several, half=True).eval(), (maps,), opset)
                except Exception as error:
                    row["strict"].append(f"{name}: {str(error).strip().splitlines()[0]}")
                    continue
                for runtime, run in runtimes.items():
                    if why := holds(run, graph, arrays, expected, EXACT):
                        row[runtime].append(f"{name}: {why}")
                if why := holds(onnx_runtime, half, arrays, expected, HALF):
                    row["FP16"].append(f"{name}: {why}")
            yield {"block": f"{declaration.kind} {declaration.name}", "opset": opset, **row}


def main() -> None:
    """Print the table as Markdown, and on stderr what does not hold and why."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="blocks")
    parser.add_argument("--opsets", nargs="*", type=int, default=list(OPSETS), metavar="N", help="opsets")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    heads: list[str] = []
    for row in rows(asked.only, asked.opsets):
        if not heads:
            heads = list(row)
            print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
        cells = [("no" if value else "yes") if isinstance(value, list) else str(value) for value in row.values()]
        print("| " + " | ".join(cells) + " |", flush=True)
        for column, value in row.items():
            for line in value if isinstance(value, list) else ():
                print(f"{row['block']}, opset {row['opset']}, {column}: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
