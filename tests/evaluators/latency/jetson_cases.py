"""A small graph for the stand-in board, measuring it, and what trtexec was given."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnx
from board_server import BoardServer
from hypothesis import strategies as st
from onnxscript import ir

from boostformer.deploy.onnx_opset import convert
from evaluators.latency.backend import Measured
from evaluators.latency.jetson.meter import JetsonMeter

Meters = Callable[..., JetsonMeter]
NANO_MS = 90.0183
"""The median in the recorded log of a Nano."""


NO_NUMBERS = ("", ".", "..", "9..9", "-", "-.5.", "1e999", "nan", "inf", "-inf", "9" * 5000, "-" + "9" * 5000, "\u0663")
"""What may stand where a board shows a number, nearly all of them none, or none that is finite."""


def lines_with_numbers(*templates: str) -> st.SearchStrategy[str]:
    """Lines of these forms, where anything like a number, or nothing like one, stands at each ``#``."""
    numbers = st.sampled_from(NO_NUMBERS) | st.text("0123456789.-+e", max_size=6) | st.integers(0, 10**6).map(str)

    def filled(template: str) -> st.SearchStrategy[str]:
        first, *others = template.split("#")
        return st.lists(numbers, min_size=len(others), max_size=len(others)).map(
            lambda found: first + "".join(number + other for number, other in zip(found, others, strict=True))
        )

    return st.lists(st.sampled_from(templates).flatmap(filled) | st.text(max_size=20)).map("\n".join)


@cache
def graph(opset: int, number: int = 0) -> onnx.ModelProto:
    """A small graph with a norm, as the exporter writes them; those of other numbers only have other hashes."""
    weights = np.random.default_rng(0).standard_normal((8, 8), dtype=np.float32)
    whole = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 18]>
        network (float[1, 8] input0, float[8, 8] weight, float[8] scale, float[8] bias) => (float[1, 8] output0)
        {
            product = MatMul(input0, weight)
            output0 = LayerNormalization(product, scale, bias)
        }"""
    )
    whole.graph.node[1].name = "node_layer_norm"
    for i, values in ((1, weights), (2, weights[0]), (3, weights[1])):
        whole.graph.initializer.append(onnx.numpy_helper.from_array(values, whole.graph.input[i].name))
    del whole.graph.input[1:]
    model = ir.from_proto(onnx.shape_inference.infer_shapes(whole))
    convert(model, opset)
    written = ir.to_proto(model)
    written.producer_version = str(number)
    return written


def measure(meter: JetsonMeter, **more: Any) -> Measured:
    return meter.measure({"net": graph(meter.opset)}, **more)["net"]


def options(server: BoardServer) -> list[list[str]]:
    """What each step of trtexec was given."""
    texts = [text.split(" ", 2) for _, _, text in server.board.journal if text.startswith("start")]
    return [json.loads(given) for _, _, given in texts]
