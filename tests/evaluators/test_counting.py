"""Exact counts: the published figures, two independent counters, and unknown operators are errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from boostformer import build, presets
from boostformer.architecture import Architecture
from evaluators.cost_table import CostTable, PopulationCosts
from evaluators.counting import Cost, count
from search_space import read_space, slot_indices


@pytest.fixture(scope="module")
def table() -> CostTable:
    return CostTable(file=None)


def referees(arch: Architecture) -> tuple[Cost, int]:
    """The whole network counted by fvcore, and by torch's dispatch-level counter (which counts 2 per MAC)."""
    with torch.device("meta"):
        model = build(arch).eval()
        image = torch.empty(1, 3, *arch.size)
    with FlopCounterMode(display=False) as counter:
        model(image)
    assert counter.get_total_flops() % 2 == 0
    return count(model, image), counter.get_total_flops() // 2


def test_the_published_figures(table: CostTable) -> None:
    b2 = table.cost(presets.load("segformer_b2"))
    assert (b2.params, b2.macs) == (27_461_974, 62_337_843_200)
    assert (b2.conv_linear_macs, b2.attention_macs) == (58_445_529_088, 3_892_314_112)
    boostformer = table.cost(presets.load("boostformer"))
    assert (boostformer.params, boostformer.macs) == (17_576_602, 15_686_090_752)
    assert (boostformer.conv_linear_macs, boostformer.attention_macs) == (15_454_879_744, 231_211_008)


@pytest.mark.parametrize("name", presets.names())
def test_the_sum_of_parts_is_the_whole_for_every_preset(table: CostTable, name: str) -> None:
    arch = presets.load(name)
    whole, dispatched = referees(arch)
    assert table.cost(arch) == whole
    assert whole.macs == dispatched


@pytest.mark.slow
@pytest.mark.parametrize(("space", "number"), [("tiny", 60), ("boostformer_b0", 80), ("boostformer_b2", 60)])
def test_the_sum_of_parts_is_the_whole_for_sampled_networks(table: CostTable, space: str, number: int) -> None:
    rng = np.random.default_rng(0)
    drawn = read_space(space).replace(size=(123, 197))  # odd maps at every stage
    for _ in range(number):
        arch = drawn.sample(rng)
        whole, dispatched = referees(arch)
        assert table.cost(arch) == whole, arch.to_yaml()
        assert whole.macs == dispatched, arch.to_yaml()


@pytest.mark.parametrize("name", ["tiny", "boostformer_b0"])
def test_a_population_costs_what_its_networks_cost_one_by_one(table: CostTable, name: str) -> None:
    space = read_space(name).replace(size=(96, 160), classes=11)
    genes = space.sample_genes(np.random.default_rng(0), 200)
    found = PopulationCosts(table, space.slots, space.size, space.classes).costs(slot_indices(space, genes))
    for row, costs in zip(genes, found, strict=True):
        one = table.cost(space.decode(row))
        assert costs.tolist() == [one.params, one.conv_linear_macs, one.attention_macs]


def test_formulas_of_the_reference() -> None:
    """N positions, C channels, as in the literature."""
    width, tokens = 64, 14 * 14
    x = torch.empty(1, width, 14, 14, device="meta")
    from boostformer.architecture import BlockSpec
    from boostformer.blocks.registry import construct

    def of(kind: str, name: str, **options: int) -> Cost:
        return count(construct(kind, BlockSpec.of(name, **options), width).to("meta"), x)

    mhsa = of("mixer", "mhsa", heads=4)
    assert mhsa == Cost(4 * width**2 + 4 * width, 4 * tokens * width**2, 2 * tokens**2 * width)
    pooled = of("mixer", "pooled_attention", heads=4, pool=7)
    assert pooled == Cost(3 * width**2 + 5 * width, (tokens + 98) * width**2, 98 * tokens * width)
    reduced = of("mixer", "efficient_attention", heads=2, reduction=2)
    m = tokens // 4
    assert reduced.params == 4 * width**2 + 4 * width**2 + 7 * width
    assert reduced.conv_linear_macs == 2 * tokens * width**2 + 2 * m * width**2 + m * 4 * width**2
    assert reduced.attention_macs == 2 * tokens * m * width
    separable = of("mixer", "separable_attention")
    assert separable == Cost(3 * width**2 + 4 * width + 1, 3 * tokens * width**2 + tokens * width, 0)
    assert of("mixer", "pooling") == Cost(0, 0, 0)
    e = 4
    assert of("ffn", "mix_ffn", ratio=e) == Cost(
        2 * e * width**2 + 11 * e * width + width, 2 * tokens * e * width**2 + 9 * tokens * e * width, 0
    )
    assert of("ffn", "mix_cfn", ratio=e) == Cost(
        2 * e * width**2 + 23 * e * width + width, 2 * tokens * e * width**2 + 17 * tokens * e * width, 0
    )


def test_an_operator_without_a_count_is_an_error() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.fft(x).real

    with pytest.raises(ValueError, match=r"Odd: operators .*fft.* have no count"):
        count(Odd(), torch.empty(1, 4, device="meta"))


def test_bare_matrix_products_count_as_attention() -> None:
    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x @ x.transpose(1, 2)

    assert count(Product(), torch.empty(1, 5, 7, device="meta")) == Cost(0, 0, 5 * 5 * 7)


def test_counts_are_kept_and_a_torn_line_is_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, arch = tmp_path / "costs.jsonl", presets.load("boostformer_b0", size=(64, 64))
    first = CostTable(file).cost(arch)
    content = file.read_text()
    file.write_text(content[:-20])  # as a crash would leave it
    assert CostTable(file).cost(arch) == first

    def never(part: object) -> Cost:
        raise AssertionError(f"counted again: {part}")

    monkeypatch.setattr("evaluators.cost_table._count", never)
    assert CostTable(file).cost(arch) == first


def test_a_folder_that_cannot_be_written_is_said_and_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    table = CostTable(tmp_path / "file" / "costs.jsonl")
    with pytest.warns(UserWarning, match="counts are not kept for later"):
        cost = table.cost(presets.load("boostformer_b0"))
    assert cost.params == 2_416_826
