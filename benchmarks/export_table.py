"""Runtimes that take each block, by opset: `python -m benchmarks.export_table ROWS.jsonl > table.md`.

Every registered block with its defaults and each other value of each option, deployed, alone in a graph; each is
compared with torch. What stands in ROWS.jsonl is not run again. OpenVINO must be there (`pip install openvino`).
"""

from __future__ import annotations

import argparse
import copy
import importlib
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypedDict
from unittest import mock

import cv2
import numpy as np
import onnx
import torch
from torch import Tensor, nn

import boostformer.blocks  # noqa: F401  (registers them)
from boostformer.architecture import BlockSpec
from boostformer.blocks import registry
from boostformer.deploy import onnx_writer
from boostformer.deploy.onnx_writer import OPSETS
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
    """Build a block with its defaults, then with each other value of each option: name, deployed module, inputs."""
    first = BlockSpec.of(declaration.name, **declaration.defaults)
    chosen = [first]
    for name, option in declaration.options.items():
        others = [value for value in option.allowed if value != declaration.defaults[name]]
        chosen += [BlockSpec.of(declaration.name, **(declaration.defaults | {name: value})) for value in others]
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


class Row(TypedDict):
    """A block at an opset.

    Attributes:
        block: kind and name.
        opset: of the graphs.
        cases: how many values of options were tried.
        fails: for each column, what does not hold and why.
    """

    block: str
    opset: int
    cases: int
    fails: dict[str, list[str]]


def rows_of(declaration: registry.Declaration, opsets: list[int]) -> list[Row]:
    """Try a block at opsets."""
    tried = list(cases(declaration))
    columns = ["strict checker", *RUNTIMES, "FP16"]
    rows: list[Row] = [
        {
            "block": f"{declaration.kind} {declaration.name}",
            "opset": opset,
            "cases": len(tried),
            "fails": {column: [] for column in columns},
        }
        for opset in opsets
    ]
    for name, block, maps in tried:
        several, arrays = declaration.kind == "fusion", [x.numpy() for x in maps]
        with torch.no_grad():
            expected = Listed(block, several)(maps).numpy()
        single, half = exporter(Listed(block, several)), exporter(Listed(copy.deepcopy(block), several, half=True))
        for row in rows:
            fails = row["fails"]
            try:
                graphs = single(maps, row["opset"]), half(maps, row["opset"])
            except Exception as error:
                fails["strict checker"].append(f"{name}: {str(error).strip().splitlines()[0]}")
                continue
            for runtime, run in RUNTIMES.items():
                if why := holds(run, graphs[0], arrays, expected, EXACT):
                    fails[runtime].append(f"{name}: {why}")
            if why := holds(onnx_runtime, graphs[1], arrays, expected, HALF):
                fails["FP16"].append(f"{name}: {why}")
    return rows


def exporter(module: nn.Module) -> Callable[[list[Tensor], int], onnx.ModelProto]:
    """Make what exports a module; torch's exporter, which takes the time, writes once what opsets have in common."""
    write, written = onnx_writer._program, {}
    module.eval()

    def once(module: nn.Module, inputs: tuple[Any, ...], opset: int, axes: None) -> SimpleNamespace:
        if opset not in written:
            written[opset] = write(module, inputs, opset, axes).model
        return SimpleNamespace(model=written[opset].clone())

    def export(maps: list[Tensor], opset: int) -> onnx.ModelProto:
        with mock.patch.object(onnx_writer, "_program", once):
            return onnx_writer.to_onnx(module, (maps,), opset)

    return export


def table(rows: list[Row]) -> Iterator[str]:
    """Write rows as Markdown: a line for each block, whose opsets are together where they agree; then what fails."""
    columns = list(rows[0]["fails"])
    yield "| block | cases | opsets | " + " | ".join(columns) + " |"
    yield "|---" * (3 + len(columns)) + "|"
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        held = tuple("no" if row["fails"][column] else "yes" for column in columns)
        groups.setdefault((row["block"], row["cases"], held), []).append(row["opset"])
    for (block, count, held), opsets in groups.items():
        kind, name = block.split()
        yield f"| `{name}` ({kind}) | {count} | {', '.join(map(str, opsets))} | " + " | ".join(held) + " |"
    yield ""
    for row in rows:
        for column, reasons in row["fails"].items():
            yield from (f"- {row['block']}, opset {row['opset']}, {column}: {reason}" for reason in reasons)


def main() -> None:
    """Try what is not in the file yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path, metavar="ROWS.jsonl", help="what was tried, a row a line")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="blocks")
    parser.add_argument("--opsets", nargs="*", type=int, default=list(OPSETS), metavar="N", help="opsets")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    warnings.simplefilter("ignore")
    rows: list[Row] = [json.loads(line) for line in asked.rows.read_text().splitlines()] if asked.rows.exists() else []
    done = {(row["block"], row["opset"]) for row in rows}
    with asked.rows.open("a") as file:
        for declaration in registry.declarations():
            name = f"{declaration.kind} {declaration.name}"
            left = [opset for opset in asked.opsets if (name, opset) not in done]
            if not asked.only or declaration.name in asked.only:
                new = rows_of(declaration, left) if left else []
                rows += new
                file.writelines(json.dumps(row) + "\n" for row in new)
                file.flush()
    order = [f"{item.kind} {item.name}" for item in registry.declarations()]
    print("\n".join(table(sorted(rows, key=lambda row: (order.index(row["block"]), row["opset"])))))


if __name__ == "__main__":
    main()
