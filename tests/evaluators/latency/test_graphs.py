"""The graphs that a device times: of elements that add up to networks, and known again by their structure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from latency_cases import all_elements, sampled, space
from onnx import TensorProto, helper, numpy_helper

from boostformer.architecture import BlockSpec
from boostformer.deploy.onnx_writer import opset_of
from boostformer.parts import Part, labels_part, parts
from evaluators.costs.table import part_key
from evaluators.latency.graphs import (
    NARROW,
    element_graph,
    elements,
    elements_of,
    frames_of,
    graph_hash,
    network_graph,
    space_elements,
)

MIXER = Part("mixer", BlockSpec.of("pooling"), (8,), ((8, 16, 16),), deployed=True)


def graph(
    *,
    names: str = "x",
    width: int = 4,
    weight: float = 1.0,
    axis: int = 1,
    shape: tuple[int, ...] = (1, 12),
    op: str = "Mul",
) -> onnx.ModelProto:
    """Multiplies by a weight, is made flat, and its softmax is taken."""
    first, scaled, flat, last = (f"{names}{i}" for i in range(4))
    weights = numpy_helper.from_array(np.full((1, width, 1), weight, "float32"), f"{names}w")
    target = numpy_helper.from_array(np.array(shape, "int64"), f"{names}s")
    nodes = [
        helper.make_node(op, [first, f"{names}w"], [scaled], name=f"{names}/op"),
        helper.make_node("Reshape", [scaled, f"{names}s"], [flat]),
        helper.make_node("Softmax", [flat], [last], axis=axis),
    ]
    ends = [
        helper.make_tensor_value_info(first, TensorProto.FLOAT, [1, width, 3]),
        helper.make_tensor_value_info(last, TensorProto.FLOAT, list(shape)),
    ]
    made = helper.make_graph(nodes, names, ends[:1], ends[1:], [weights, target])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_hash_does_not_depend_on_weights_and_names() -> None:
    assert graph_hash(graph()) == graph_hash(graph(names="other/", weight=7.5))
    assert len(graph_hash(graph())) == 16


@pytest.mark.parametrize("change", [{"width": 8, "shape": (1, 24)}, {"axis": 0}, {"shape": (2, 6)}, {"op": "Add"}])
def test_a_hash_depends_on_shapes_attributes_axes_and_operators(change: dict[str, object]) -> None:
    assert graph_hash(graph()) != graph_hash(graph(**change))  # type: ignore[arg-type]


def test_a_hash_depends_on_the_opset_and_on_what_feeds_what() -> None:
    newer, crossed = graph(), graph()
    newer.opset_import[0].version = 18
    crossed.graph.node[0].input[1] = "x0"
    assert len({graph_hash(graph()), graph_hash(newer), graph_hash(crossed)}) == 3


def test_a_branch_is_its_block_and_what_is_not_folded_into_it() -> None:
    norm = Part("norm", BlockSpec("layer"), (8,), ((8, 16, 16),), deployed=True)
    one_pass = replace(MIXER, spec=BlockSpec("identity"))
    assert elements_of(MIXER) == [MIXER]
    whole = replace(MIXER, norm="layer", scale=True, local_connection=True)
    assert elements_of(whole) == [MIXER, norm, one_pass, one_pass]
    stem = Part("stem", BlockSpec("none"), (3,), ((3, 64, 64),), deployed=True)
    assert elements_of(stem) == []
    fusion = next(part for _, part, _ in parts(sampled(1)[0], deployed=True) if part.kind == "fusion")
    assert elements_of(fusion) == [fusion]


def test_elements_are_counted_as_often_as_they_are_there() -> None:
    arch = sampled(1)[0]
    listed = list(elements(arch))
    deep = replace(arch, stages=tuple(replace(stage, depth=2 * stage.depth) for stage in arch.stages))
    blocks = {"mixer", "ffn", "norm"}

    def count(found: list[tuple[Part, int]], kinds: set[str]) -> int:
        return sum(times for element, times in found if element.kind in kinds)

    assert count(list(elements(deep)), {"mixer", "ffn"}) == 2 * count(listed, {"mixer", "ffn"})
    others = {element.kind for element, _ in listed} - blocks
    assert count(list(elements(deep)), others) == count(listed, others)
    assert [*elements(arch, labels=True)] == [*listed, (labels_part(arch), 1)]


def test_elements_of_a_space_are_few_and_have_keys_of_their_own() -> None:
    assert len({part_key(element) for element in all_elements()}) == len(all_elements()) < 80
    assert space().count > 1000


def test_an_element_has_a_frame_for_each_map_it_takes_or_gives() -> None:
    assert [frame.inputs for frame in frames_of(MIXER)] == [((8, 16, 16),)] * 2
    embed = Part("embed", BlockSpec.of("overlap_conv", kernel=7), (3, 8, 4), ((3, 64, 64),), deployed=True)
    assert [frame.inputs for frame in frames_of(embed)] == [((8, 16, 16),)], "the image has none"
    fusion = next(part for _, part, _ in parts(sampled(1)[0], deployed=True) if part.kind == "fusion")
    assert [frame.inputs[0] for frame in frames_of(fusion)] == [*fusion.inputs, fusion.inputs[0]]
    assert [len(frames_of(labels_part(sampled(1)[0])))] == [1]


@pytest.mark.parametrize("opset", [13, 17])
def test_an_element_s_graph_lies_between_narrow_maps(opset: int) -> None:
    found = element_graph(MIXER, opset)
    assert opset_of(found) == opset
    (taken,), (given,) = found.graph.input, found.graph.output
    shapes = [[d.dim_value for d in item.type.tensor_type.shape.dim] for item in (taken, given)]
    assert shapes == [[1, NARROW, 16, 16]] * 2
    operators = [node.op_type for node in found.graph.node]
    assert operators.count("Conv") == 2 and "AveragePool" in operators and "Add" in operators
    (frame,) = set(frames_of(MIXER))
    assert graph_hash(element_graph(MIXER, opset)) == graph_hash(found) != graph_hash(element_graph(frame, opset))


@pytest.mark.parametrize("bands", [1, 3, 4, 8])
def test_an_element_that_takes_the_image_or_several_maps_has_a_graph_too(bands: int) -> None:
    arch = sampled(1)[0].replace(bands=bands)
    listed = {part.kind: part for _, part, _ in reversed(list(parts(arch, deployed=True)))}
    embed, fusion = listed["embed"], listed["fusion"]
    assert len(element_graph(fusion, 17).graph.input) == len(fusion.inputs)
    image = element_graph(embed, 17).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in image] == [1, bands, 64, 64]
    assert [frame.inputs for frame in frames_of(embed)] == [((embed.shape[1], 16, 16),)], "the image has none"
    network = network_graph(arch, 17).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in network] == [1, bands, *arch.size]


def test_the_elements_of_a_space_of_other_bands_are_those_of_its_networks() -> None:
    four = space().replace(bands=4)
    known = set(space_elements(four.slots, next(iter(four))))
    assert all(element in known for arch in sampled(5) for element, _ in elements(arch.replace(bands=4)))
    assert not known >= {element for element, _ in elements(sampled(1)[0])}
