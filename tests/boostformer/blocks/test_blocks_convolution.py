"""Convolutional mixers against slow formulas and transformers' modules; how these, FFNs and stems fold."""

from __future__ import annotations

import pytest
import torch
from block_cases import make
from convolution_cases import EXACT, WIDTH, batch, block_of, depthwise, linear, norm
from torch import nn
from torch.nn import functional
from transformers import MobileNetV2Config, MobileViTV2Config
from transformers.models.mobilenet_v2.modeling_mobilenet_v2 import MobileNetV2InvertedResidual
from transformers.models.mobilevitv2.modeling_mobilevitv2 import MobileViTV2LinearSelfAttention
from transformers.models.poolformer.modeling_poolformer import PoolFormerPooling

from boostformer.architecture import BlockSpec
from boostformer.blocks import folding
from boostformer.fold import fold
from evaluators.costs.counting import count

MIXERS = [
    BlockSpec.of("pooling", kernel=5),
    BlockSpec.of("reparam_depthwise", kernel=5),
    BlockSpec.of("msca"),
    *(
        BlockSpec.of("universal_inverted_bottleneck", start=start, middle=middle, ratio=2)
        for start in (0, 3)
        for middle in (0, 5)
    ),
]
FFNS = [BlockSpec.of(name, ratio=2) for name in ("mix_ffn", "mix_cfn", "conv_mlp", "star")]
BRANCHES = [("mixer", spec) for spec in MIXERS] + [("ffn", spec) for spec in FFNS]
STEMS = [("stem", BlockSpec.of("resizer", blocks=2, shrink=shrink)) for shrink in (1, 2)]


@pytest.mark.parametrize(("kind", "spec"), BRANCHES + STEMS)
@torch.no_grad()
def test_folding_changes_nothing_but_the_work(kind: str, spec: BlockSpec) -> None:
    block, x = block_of(kind, spec), batch(kind)
    folded = fold(block)
    torch.testing.assert_close(folded(x), block(x), **EXACT)
    left = [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(left) == (kind == "stem")  # the resizer's first, between two skips
    torch.testing.assert_close(fold(folded)(x), block(x), **EXACT)
    fold(make(kind, spec, WIDTH).to("meta"))


@pytest.mark.parametrize(("kind", "spec"), BRANCHES)
@pytest.mark.parametrize("shifted", [False, True])
@torch.no_grad()
def test_what_a_block_absorbs_it_computes(kind: str, spec: BlockSpec, shifted: bool) -> None:
    block, x = block_of(kind, spec), batch(kind)
    scale, shift = torch.randn(WIDTH).double(), torch.randn(WIDTH).double() if shifted else None
    term = 0 if shift is None else shift[:, None, None]
    padded = spec.name == "reparam_depthwise" or dict(spec.options).get("start", 0) > 0
    weightless = spec.name == "pooling"

    before = fold(block)
    absorbed = folding.absorb_input(before, scale, shift)
    assert absorbed == (not (shifted and padded) and not weightless)
    torch.testing.assert_close(before(x), block(x * scale[:, None, None] + term if absorbed else x), **EXACT)

    absorbed = folding.absorb_output(before, scale, shift)
    assert absorbed != weightless
    once = fold(block)
    folding.absorb_output(once, scale, shift)
    torch.testing.assert_close(once(x), block(x) * scale[:, None, None] + term if absorbed else block(x), **EXACT)


# Mixers


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_pooling_is_poolformers(kernel: int) -> None:
    x = batch("mixer")
    torch.testing.assert_close(
        make("mixer", BlockSpec.of("pooling", kernel=kernel), WIDTH)(x), PoolFormerPooling(kernel)(x), **EXACT
    )


def test_identity_mixes_nothing() -> None:
    x = batch("mixer")
    assert make("mixer", BlockSpec.of("identity"), WIDTH)(x) is x


@pytest.mark.parametrize("kernel", [3, 5, 7])
@torch.no_grad()
def test_reparam_depthwise_sums_three_branches_and_deploys_as_one(kernel: int) -> None:
    block, x = block_of("mixer", BlockSpec.of("reparam_depthwise", kernel=kernel)), batch("mixer")
    w = block.state_dict()
    wide = norm(depthwise(x, w["wide.0.weight"]), w, "wide.1")
    point = norm(x * w["point.0.weight"][:, 0], w, "point.1")
    torch.testing.assert_close(block(x), wide + point + norm(x, w, "skip"), **EXACT)
    folded = fold(block)
    assert isinstance(folded, nn.Conv2d) and folded.groups == WIDTH
    cost = count(folded, x[:1].to("meta"))
    assert (cost.params, cost.macs) == (kernel**2 * WIDTH + WIDTH, 70 * kernel**2 * WIDTH)


@torch.no_grad()
def test_msca_is_the_formula() -> None:
    block, x = block_of("mixer", BlockSpec.of("msca")), batch("mixer")
    w = block.state_dict()
    inner = functional.gelu(linear(x, w, "enter"))
    near = depthwise(inner, w["near.weight"], w["near.bias"])
    around = near.clone()
    for i, kernel in enumerate((7, 11, 21)):
        row, column = w[f"strips.{i}.0.weight"], w[f"strips.{i}.1.weight"]
        assert row.shape[2:] == (1, kernel) and column.shape[2:] == (kernel, 1)
        around += depthwise(depthwise(near, row, w[f"strips.{i}.0.bias"]), column, w[f"strips.{i}.1.bias"])
    torch.testing.assert_close(block(x), linear(linear(around, w, "mix") * inner, w, "project"), **EXACT)
    assert count(block, x[:1].to("meta")).params == 3 * WIDTH**2 + 113 * WIDTH


@torch.no_grad()
def test_only_a_middle_convolution_is_mobilenet_v2s_inverted_bottleneck() -> None:
    config = MobileNetV2Config(
        expand_ratio=4, hidden_act="relu", tf_padding=False, layer_norm_eps=1e-5, depth_divisible_by=1, min_depth=1
    )
    theirs = MobileNetV2InvertedResidual(config, WIDTH, WIDTH, stride=1).double().eval()
    ours = block_of("mixer", BlockSpec.of("universal_inverted_bottleneck", start=0, middle=3, ratio=4))
    ours_values = ours.state_dict().values()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours_values, strict=True)))
    x = batch("mixer")
    torch.testing.assert_close(x + ours(x), theirs(x), **EXACT)


@pytest.mark.parametrize("start", [0, 5])
@pytest.mark.parametrize("middle", [0, 3])
@torch.no_grad()
def test_universal_inverted_bottleneck_is_the_formula(start: int, middle: int) -> None:
    spec = BlockSpec.of("universal_inverted_bottleneck", start=start, middle=middle, ratio=3)
    block, x = block_of("mixer", spec), batch("mixer")
    w = block.state_dict()
    y = norm(depthwise(x, w["start.0.weight"]), w, "start.1") if start else x
    y = norm(linear(y, w, "expand.0"), w, "expand.1").relu()
    if middle:
        y = norm(depthwise(y, w["middle.0.weight"]), w, "middle.1").relu()
    torch.testing.assert_close(block(x), norm(linear(y, w, "project.0"), w, "project.1"), **EXACT)
    macs = 70 * (start**2 * WIDTH + 6 * WIDTH**2 + 3 * middle**2 * WIDTH)
    assert count(block, x[:1].to("meta")).macs == macs


@torch.no_grad()
def test_separable_attention_is_mobilevit_v2s() -> None:
    ours = block_of("mixer", BlockSpec.of("separable_attention"))
    theirs = MobileViTV2LinearSelfAttention(MobileViTV2Config(attn_dropout=0.0), WIDTH).double().eval()
    w = ours.state_dict()
    carried = {
        f"{name}.convolution.{part}": torch.cat([w[f"{own}.{part}"] for own in owns])
        for name, owns in (("qkv_proj", ("query", "key", "value")), ("out_proj", ("project",)))
        for part in ("weight", "bias")
    }
    theirs.load_state_dict({k: v[:, :, None, None] if v.dim() == 2 else v for k, v in carried.items()})
    x = batch("mixer")
    # Theirs: (B, C, positions of a patch, patches), a context for each position of a patch. Here: one patch position.
    torch.testing.assert_close(ours(x).flatten(2)[:, :, None], theirs(x.flatten(2)[:, :, None]), **EXACT)
