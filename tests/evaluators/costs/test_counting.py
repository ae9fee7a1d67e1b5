"""Exact counts: the published figures, two independent counters, and unknown functions are errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from boostformer import build, presets
from boostformer.architecture import Architecture, BlockSpec
from boostformer.errors import UserError
from boostformer.fold import fold
from evaluators.costs.counting import Cost, count
from evaluators.costs.populations import Population
from evaluators.costs.referee import count_with_fvcore
from evaluators.costs.table import CostTable
from search_space import read_space, shipped_spaces, slot_indices


@pytest.fixture(scope="module")
def table() -> CostTable:
    return CostTable(file=None, deployed=False)


@pytest.fixture(scope="module")
def deployed() -> CostTable:
    return CostTable(file=None)


def check(arch: Architecture, table: CostTable, form: Callable[[nn.Module], nn.Module]) -> None:
    """The sum over the parts is the whole as we count it, as fvcore does and as torch's own counter does."""
    with torch.device("meta"):
        model = form(build(arch).eval())
        image = torch.empty(1, arch.bands, *arch.size)
    whole = count(model, image)
    assert table.cost(arch) == whole, arch.to_yaml()
    assert count_with_fvcore(model, image) == whole, arch.to_yaml()
    if not table.deployed:  # once for each will do
        with FlopCounterMode(display=False) as counter:  # it sees operators, and counts 2 for a MAC
            model(image)
        assert counter.get_total_flops() == 2 * whole.macs, arch.to_yaml()


def shallow(arch: Architecture) -> Architecture:
    """The network with at most two blocks at each stage; deeper ones have more of the same layers."""
    return replace(arch, stages=tuple(replace(stage, depth=min(stage.depth, 2)) for stage in arch.stages))


def test_the_published_figures(table: CostTable) -> None:
    b2 = table.cost(presets.load("segformer_b2"))
    assert (b2.params, b2.macs) == (27_461_974, 62_337_843_200)
    assert (b2.conv_linear_macs, b2.attention_macs) == (58_445_529_088, 3_892_314_112)
    boostformer = table.cost(presets.load("boostformer"))
    assert (boostformer.params, boostformer.macs) == (17_576_602, 15_686_090_752)
    assert (boostformer.conv_linear_macs, boostformer.attention_macs) == (15_454_879_744, 231_211_008)


# Other presets have more of the same layers.
@pytest.mark.parametrize(
    "name", ["boostformer_b0", *(pytest.param(n, marks=pytest.mark.slow) for n in ("segformer_b0", "boostformer"))]
)
def test_all_counters_agree_on_presets(table: CostTable, deployed: CostTable, name: str) -> None:
    check(presets.load(name), table, lambda model: model)
    check(presets.load(name), deployed, fold)


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_spaces())
def test_all_counters_agree_on_sampled_networks(table: CostTable, deployed: CostTable, name: str) -> None:
    rng = np.random.default_rng(0)
    space = read_space(name).replace(size=(123, 197))  # odd maps at every stage
    for _ in range(3):
        check(shallow(space.sample(rng)), table, lambda model: model)
        check(shallow(space.sample(rng)), deployed, fold)


@pytest.mark.parametrize("name", ["tiny", "boostformer_b0"])
def test_a_population_costs_what_its_networks_cost_one_by_one(table: CostTable, name: str) -> None:
    space = read_space(name).replace(size=(96, 160), classes=11)
    genes = space.genes.sample(np.random.default_rng(0), 50)
    found = Population(table, space.slots, space.size, space.classes).figures(slot_indices(space, genes))
    for row, costs in zip(genes, found, strict=True):
        one = table.cost(space.decode(row))
        assert costs.tolist() == [one.params, one.conv_linear_macs, one.attention_macs]


@pytest.mark.parametrize("bands", [1, 4])
def test_a_network_of_other_bands_costs_what_its_parts_cost(table: CostTable, deployed: CostTable, bands: int) -> None:
    rng, space = np.random.default_rng(0), read_space("boostformer_b0").replace(size=(96, 160), classes=11, bands=bands)
    resized = space.sample(rng)
    stem = BlockSpec.of("resizer", blocks=1, shrink=2)
    for arch in (presets.load("segformer_b0", size=(64, 96), bands=bands), replace(resized, stem=stem)):
        check(arch, table, lambda model: model)
        check(arch, deployed, fold)
        rgb = arch.replace(bands=3)  # by the same table, which must not confuse them
        assert (table.cost(arch).params - table.cost(rgb).params) * (bands - 3) > 0
    genes = space.genes.sample(rng, 5)
    indices = slot_indices(space, genes)
    found = Population(table, space.slots, space.size, space.classes, bands).figures(indices)
    assert [row.tolist() for row in found] == [list(table.cost(space.decode(genes[i])).values) for i in range(5)]


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


class Calling(nn.Module):
    """A module that does nothing but call this function."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def of_call(function: Callable[[Tensor], Any], *shape: int) -> Cost:
    return count(Calling(function), torch.empty(shape, device="meta"))


@torch.jit.script
def _scripted(x: Tensor) -> Tensor:
    return torch.conv2d(x, x)


UNKNOWN: dict[str, Callable[[Tensor], Any]] = {
    r"'torch\.functional\.einsum'": lambda x: torch.einsum("bchw,bcvw->bhv", x, x),
    r"'torch\.fft\.fft'": lambda x: torch.fft.fft(x).real,
    r"'torch\.Tensor\.logsumexp'": lambda x: x.logsumexp(1),
    r"'torch\.Tensor\.__rmatmul__'": lambda x: torch.Tensor.__rmatmul__(x.transpose(2, 3), x),
    r"'torch\.Tensor\.erfinv_'": lambda x: x.erfinv_(),
    r"'torch\.nn\.functional\.normalize'": lambda x: torch.nn.functional.normalize(x),
    r"'torch\.nn\.functional\.unfold'.*'torch\.var'": lambda x: (torch.var(x), torch.nn.functional.unfold(x, 2)),
    r"'torch\.nn\.functional\.conv_transpose2d'": lambda x: torch.conv_transpose2d(x, x),
    r"'aten\.mm'": lambda x: torch.ops.aten.mm(x[0, 0], x[0, 0].T),
    r"'aten\.convolution\.default'": _scripted,
    r"'torch\.Tensor\.item'": lambda x: x.sum().item(),
    r"'torch\.Tensor\.nonzero'": lambda x: x.nonzero(),
    r"'torch\.Tensor\.numpy'": lambda x: x.numpy(),
}


@pytest.mark.parametrize("names", UNKNOWN)
def test_a_function_without_a_count_is_an_error_that_names_it(names: str) -> None:
    with pytest.raises(ValueError, match=rf"Calling: operators \[{names}.*\] have no count; add each to COUNTED or"):
        of_call(UNKNOWN[names], 1, 4, 6, 8)


def test_what_a_module_does_wrong_remains_its_own_error() -> None:
    with pytest.raises(RuntimeError, match="[Cc]hannel"):
        of_call(nn.Conv2d(3, 4, 1, device="meta"), 1, 5, 6, 6)


def test_every_way_of_calling_is_seen() -> None:
    free: list[Callable[[Tensor], Any]] = [
        lambda x: x.add_(1).relu_() + 2 * x - x / (3 - x) + (-x).abs(),
        lambda x: (x.shape, x.device, x.dtype, x.is_meta, x.T, x.ndim, len(x), x.size(0), x.dim(), x.numel()),
        lambda x: torch.cat([x[..., :2], torch.relu(x), nn.functional.relu(x, inplace=True)], dim=-1),
        lambda x: nn.functional.interpolate(x.view(1, 1, 6, 8), scale_factor=2.0),
        lambda x: torch.where((x > 0) & ~(x == 1), x, 0.0).masked_fill(x < 1, 2).to(torch.float16).float(),
        lambda x: [one.flatten() for one in x],
        lambda x: torch.zeros(3, device=x.device).clamp(min=0).sum(),
    ]
    for function in free:
        assert of_call(function, 6, 8) == Cost(0, 0, 0)
    products: list[Callable[[Tensor], Any]] = [
        lambda x: x @ x.T,
        lambda x: x.matmul(x.T),
        lambda x: torch.mm(x, x.T),
        lambda x: torch.bmm(x[None], x.T[None]),
        lambda x: torch.baddbmm(x[None, :, :1], x[None], x.T[None]),
        lambda x: torch.matmul(input=x, other=x.T),
    ]
    for function in products:
        assert of_call(function, 6, 8) == Cost(0, 0, 6 * 6 * 8)
    assert of_call(lambda x: x @ x.transpose(2, 3), 1, 3, 6, 8) == Cost(0, 0, 3 * 6 * 6 * 8)
    assert of_call(lambda x: x @ x[0, 0].T, 1, 3, 6, 8) == Cost(0, 0, 3 * 6 * 6 * 8)
    assert of_call(lambda x: x @ x[0], 6, 6) == Cost(0, 0, 6 * 6)
    assert of_call(lambda x: torch.addmm(x[0, 0], x, x.T), 6, 8) == Cost(0, 6 * 6 * 8, 0)
    assert of_call(nn.Linear(8, 5, device="meta"), 2, 6, 8) == Cost(45, 2 * 6 * 8 * 5, 0)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv2d(6, 4, (3, 2), (2, 1), (1, 0), (1, 2), groups=2), (1, 6, 9, 11)),
        (nn.Conv2d(6, 6, 5, padding="same", groups=6, padding_mode="reflect"), (1, 6, 9, 11)),
        (nn.Conv2d(6, 4, 3, padding="same", dilation=2), (1, 6, 9, 11)),
        (nn.Conv1d(6, 4, 3, stride=2), (1, 6, 11)),
        (nn.Conv3d(6, 4, 3, padding=1, groups=2), (1, 6, 5, 6, 7)),
        (nn.Linear(8, 5), (1, 3, 4, 8)),
        (Calling(lambda x: nn.functional.scaled_dot_product_attention(x, x[:, :, 1:], x[:, :, 1:, :3])), (1, 2, 9, 8)),
        (Calling(lambda x: nn.functional.scaled_dot_product_attention(x, x[:, :1], x[:, :1])), (1, 2, 9, 8)),
    ],
)
def test_a_function_costs_what_torchs_counter_says(module: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape)
    with FlopCounterMode(display=False) as counter:
        module.eval()(x)
    assert 2 * count(module, x.to("meta")).macs == counter.get_total_flops()


def test_the_module_remains_as_it_is() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert count(module, torch.empty(1, 3, 2, 2, device="meta")) == Cost(16 + 8, 4 * 12, 0)
    assert module[0].weight.device.type == "cpu"
    assert module.training


def test_more_than_64_bits_hold_is_refused_not_negative() -> None:
    arch = presets.load("segformer_b0").replace(size=(16384, 16384))
    stage = replace(arch.stages[0], mixer=BlockSpec.of("mhsa"), depth=256, width=512)
    huge = replace(arch, stages=(stage, *arch.stages[1:]))
    with pytest.raises(UserError, match=r"cannot be counted, at most 9\.2e\+18"):
        CostTable(file=None).cost(huge)
    slots: dict[str, list[Any]] = {"stem": [huge.stem], "decoder.width": [256], "decoder.fusion": [huge.decoder.fusion]}
    for i, each in enumerate(huge.stages):
        slots |= {f"stages.{i}.{field.name}": [getattr(each, field.name)] for field in fields(each)}
    with pytest.raises(UserError, match="cannot be counted"):
        Population(CostTable(file=None), slots, huge.size, huge.classes)
