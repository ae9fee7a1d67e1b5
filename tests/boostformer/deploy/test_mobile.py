"""Graphs for phones: the same function, of operators that their providers take."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from block_cases import inputs, make, specs, trained, width_of
from onnx import TensorProto, helper
from test_model import small
from torch import Tensor, nn

from boostformer.blocks import registry
from boostformer.deploy.export import export_onnx
from boostformer.deploy.manifest import Form
from boostformer.deploy.mobile import OPERATORS, left_on_cpu
from boostformer.deploy.onnx_writer import to_onnx
from boostformer.deploy.parity import parity
from boostformer.errors import UserError
from boostformer.fold import fold
from boostformer.model import build

LISTS = Path(onnxruntime.__file__).parent / "tools/mobile_helpers"
LEFT = {
    "deformable_attention": {"NNAPI": {"Gather", "Floor"}, "CoreML": {"Gather", "Floor"}},
    "inverted_residual_attention": {"NNAPI": set(), "CoreML": {"Pad"}},
}
"""Operators of blocks that stay on the CPU."""


@pytest.mark.parametrize(
    ("provider", "name"), [("NNAPI", "nnapi_supported_ops.md"), ("CoreML", "coreml_supported_mlprogram_ops.md")]
)
def test_the_operators_are_those_of_onnxruntimes_lists(provider: str, name: str) -> None:
    listed = {
        line.split("|")[1].split(":")[-1].lower() for line in (LISTS / name).read_text().splitlines() if "|" in line
    }
    assert {operator.lower() for operator in OPERATORS[provider]} <= listed


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mixer", "ffn", "norm"])
def test_every_block_computes_the_same_of_operators_that_phones_know(kind: str) -> None:
    declarations = [item for item in registry.declarations() if item.kind == kind]
    for declaration in declarations:
        module = fold(trained(make(kind, specs(declaration)[0])))
        x = inputs(kind, 9, 14, width_of(kind, specs(declaration)[0]), batch=1)
        graph = to_onnx(module, (x,), 17, mobile=True)
        assert parity(module, graph, [(x,)]) <= 2e-5, declaration.name
        left = left_on_cpu(graph)
        allowed = LEFT.get(declaration.name, {"NNAPI": set(), "CoreML": set()})
        for provider, operators in left.items():
            if declaration.name == "deformable_attention":
                assert set(operators) & allowed[provider]
            else:
                assert set(operators) <= allowed[provider], declaration.name


class Activations(nn.Module):
    """What phones know no operator for, and permutations of many axes."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Sequential(nn.LayerNorm(8), nn.InstanceNorm1d(6, affine=True), nn.BatchNorm1d(6))
        self.register_buffer("left", torch.randn(5, 6))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.norm(x)
        windows = y.reshape(1, 2, 3, 2, 2, 2).permute(0, 2, 4, 1, 5, 3)
        return (
            nn.functional.gelu(30 * y),
            nn.functional.hardswish(4 * y),
            nn.functional.hardsigmoid(4 * y),
            y.abs().sum(1, keepdim=True),
            y.softmax(1),
            self.left @ y,
            windows.reshape(3, -1),
            windows + 1,
        )


@pytest.mark.parametrize("opset", [13, 17, 20])
def test_each_operator_is_written_by_others(opset: int) -> None:
    torch.manual_seed(0)
    module, x = trained(Activations()), torch.randn(1, 6, 8)
    graph = to_onnx(module, (x,), opset, mobile=True)
    assert parity(module, graph, [(x,)]) <= 1e-5
    known = OPERATORS["NNAPI"] & OPERATORS["CoreML"]
    assert {node.op_type for node in graph.graph.node} <= known
    assert left_on_cpu(graph)["NNAPI"] == Counter({"Add": 1, "Reshape": 2})  # of the windows' own six axes


def test_what_a_provider_asks_of_shapes_and_constants_counts() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4, 8))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 2))
    weights = helper.make_tensor("w", TensorProto.FLOAT, (8, 2), [0.0] * 16)
    made = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    assert left_on_cpu(helper.make_model(made)) == {"NNAPI": Counter({"MatMul": 1}), "CoreML": Counter()}
    x.type.tensor_type.shape.dim[0].dim_param = "batch"
    made = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "g", [x], [y], [])
    assert left_on_cpu(helper.make_model(made))["CoreML"] == Counter({"Relu": 1})


@pytest.mark.slow
def test_a_network_for_phones_says_what_stays_on_the_cpu(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build(small())
    done = export_onnx(model, tmp_path / "net.onnx", form=Form(mobile=True))
    assert done.left_on_cpu == {"NNAPI": Counter(), "CoreML": Counter()}
    assert '"target": "mobile"' in done.manifest.read_text()
    assert {node.op_type for node in onnx.load(done.file).graph.node}.isdisjoint({"Erf", "LayerNormalization"})


def test_half_precision_is_not_for_phones(tmp_path: Path) -> None:
    model = build(small())
    with pytest.raises(UserError, match="--target mobile: .*--fp16"):
        export_onnx(model, tmp_path / "net.onnx", form=Form(mobile=True, half=True))
