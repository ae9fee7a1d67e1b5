"""What folded networks cost: by the tables what the whole counts, and what is published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fold_cases import folded_shape

from boostformer import build, presets
from boostformer.architecture import Architecture, BlockSpec
from boostformer.fold import fold
from boostformer.layers import UpsampledSum
from evaluators.costs.counting import count, shapes_only
from evaluators.costs.table import CostTable

TABLE = {deployed: CostTable(file=None, deployed=deployed) for deployed in (False, True)}


def assert_costs(arch: Architecture) -> None:
    """The tables' sums are the counts of the whole networks."""
    with shapes_only():
        model, x = build(arch).eval(), torch.empty(1, 3, *arch.size)
        folded = fold(model)
    assert TABLE[False].cost(arch) == count(model, x), arch.to_yaml()
    assert TABLE[True].cost(arch) == count(folded, x), arch.to_yaml()


@pytest.mark.parametrize("name", presets.names())
def test_the_costs_of_every_preset_are_those_of_the_whole(name: str) -> None:
    assert_costs(presets.load(name))


def test_the_published_network_and_what_it_costs_deployed() -> None:
    arch = presets.load("segformer_b2", classes=150, size=(512, 512))
    trained_, deployed = (TABLE[form].cost(arch) for form in (False, True))
    assert (trained_.params, trained_.macs) == (27_461_974, 62_337_843_200)
    assert (deployed.params, deployed.macs) == (25_090_518, 23_683_137_536)
    assert deployed.attention_macs == trained_.attention_macs == 3_892_314_112


def test_by_hand_what_folding_the_decoder_of_segformer_saves() -> None:
    """Four 1x1 convolutions to C and one from 4C to C at 1/4 become the four, at their own resolutions.

    Away go the fusion's 4C*C weights and its C*4C MACs at each position, three biases, and BN's two vectors;
    and what keys and values of attention need no bias for: two vectors of the width in each layer.
    """
    arch = presets.load("segformer_b2")
    width, (height, length) = arch.decoder.width, arch.map_sizes()[0]
    trained_, deployed = (TABLE[form].cost(arch) for form in (False, True))
    assert trained_.macs - deployed.macs == 4 * width * width * height * length
    biases = sum(2 * stage.width * stage.depth for stage in arch.stages)
    assert trained_.params - deployed.params == 4 * width * width + 3 * width + 2 * width + biases


def test_a_table_of_either_form_does_not_take_the_others_figures(tmp_path: Path) -> None:
    file, arch = tmp_path / "costs.jsonl", presets.load("segformer_b0", size=(64, 64))
    first = {deployed: CostTable(file, deployed=deployed).cost(arch) for deployed in (False, True)}
    assert first[True].macs < first[False].macs
    assert first == {deployed: CostTable(file, deployed=deployed).cost(arch) for deployed in (False, True)}


@pytest.mark.parametrize("fusion", ["concat", "weighted_sum"])
def test_folding_never_costs_more(fusion: str) -> None:
    arch = presets.load("boostformer_b0")
    arch = replace(arch, decoder=replace(arch.decoder, fusion=BlockSpec.of(fusion)))
    before, after = (TABLE[form].cost(arch) for form in (False, True))
    assert after.macs <= before.macs and after.params < before.params
    assert isinstance(folded_shape(arch).decoder.fusion, UpsampledSum)
