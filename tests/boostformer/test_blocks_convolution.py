"""Convolutional mixers, FFNs and stems against slow formulas and transformers' modules, folded and not."""

from __future__ import annotations

import pytest
import torch
from block_cases import inputs, make
from torch import Tensor, nn
from torch.nn import functional
from transformers import MobileNetV2Config, MobileViTV2Config, PoolFormerConfig, SegformerConfig
from transformers.models.mobilenet_v2.modeling_mobilenet_v2 import MobileNetV2InvertedResidual
from transformers.models.mobilevitv2.modeling_mobilevitv2 import MobileViTV2LinearSelfAttention
from transformers.models.poolformer.modeling_poolformer import PoolFormerOutput, PoolFormerPooling
from transformers.models.segformer.modeling_segformer import SegformerMixMLP

from boostformer.architecture import BlockSpec
from boostformer.blocks import folding
from boostformer.fold import fold
from evaluators.counting import count

WIDTH = 6
EXACT = {"rtol": 1e-10, "atol": 1e-12}
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


def block_of(kind: str, spec: BlockSpec) -> nn.Module:
    """In eval mode and double precision, also with random statistics of the BatchNorms."""
    block = make(kind, spec, WIDTH).double().eval()
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return block


def batch(kind: str, height: int = 7, length: int = 10) -> Tensor:
    x = inputs(kind, height, length, WIDTH)
    assert isinstance(x, Tensor)
    return x.double()


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


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(B, C, H, W) with (C, 1, k, l), zero padded: a sum over the shifted maps."""
    rows, columns = weight.shape[2:]
    padded = functional.pad(x, (columns // 2, columns // 2, rows // 2, rows // 2))
    out = torch.zeros_like(x) if bias is None else bias[:, None, None].expand_as(x).clone()
    for i in range(rows):
        for j in range(columns):
            out += weight[:, 0, i, j, None, None] * padded[:, :, i : i + x.shape[2], j : j + x.shape[3]]
    return out


def linear(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    y = torch.einsum("oc,bchw->bohw", weights[f"{name}.weight"].flatten(1), x)
    return y + weights[f"{name}.bias"][:, None, None] if f"{name}.bias" in weights else y


def norm(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    mean, var = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    x = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
    return x * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]


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


# FFNs

ACTIVATION = {
    "gelu": lambda x: x * torch.special.ndtr(x),
    "relu": lambda x: x.clamp(min=0),
    "hardswish": lambda x: x * (x + 3).clamp(0, 6) / 6,
}


@pytest.mark.parametrize("activation", ACTIVATION)
@torch.no_grad()
def test_ffns_apply_the_activation_that_is_asked_for(activation: str) -> None:
    act, x = ACTIVATION[activation], batch("ffn")
    for kernel in (3, 5):
        block = block_of("ffn", BlockSpec.of("mix_ffn", ratio=2, kernel=kernel, activation=activation))
        w = block.state_dict()
        assert w["depthwise.weight"].shape[2:] == (kernel, kernel)
        hidden = depthwise(linear(x, w, "expand"), w["depthwise.weight"], w["depthwise.bias"])
        torch.testing.assert_close(block(x), linear(act(hidden), w, "project"), **EXACT)

    block = block_of("ffn", BlockSpec.of("mix_cfn", ratio=2, activation=activation))
    w = block.state_dict()
    near, far = norm(linear(x, w, "expand"), w, "norm1").split(WIDTH, dim=1)
    near = depthwise(near, w["depthwise3.weight"], w["depthwise3.bias"])
    far = depthwise(far, w["depthwise5.weight"], w["depthwise5.bias"])
    hidden = norm(torch.cat([near, far], dim=1), w, "norm2")
    torch.testing.assert_close(block(x), linear(act(hidden), w, "project"), **EXACT)

    block = block_of("ffn", BlockSpec.of("conv_mlp", ratio=2, activation=activation))
    w = block.state_dict()
    torch.testing.assert_close(block(x), linear(act(linear(x, w, "expand")), w, "project"), **EXACT)


@torch.no_grad()
def test_mix_ffn_is_segformers() -> None:
    config = SegformerConfig(hidden_dropout_prob=0.0)
    theirs = SegformerMixMLP(config, WIDTH, 4 * WIDTH).double().eval()
    ours = block_of("ffn", BlockSpec.of("mix_ffn"))
    values = [
        ours.state_dict()[f"{name}.{part}"]
        for name in ("expand", "depthwise", "project")
        for part in ("weight", "bias")
    ]
    shapes = theirs.state_dict()
    theirs.load_state_dict({k: v.reshape(shapes[k].shape) for k, v in zip(shapes, values, strict=True)})
    x = batch("ffn")
    torch.testing.assert_close(ours(x).flatten(2).mT, theirs(x.flatten(2).mT, *x.shape[2:]), **EXACT)


@torch.no_grad()
def test_conv_mlp_is_poolformers() -> None:
    theirs = PoolFormerOutput(PoolFormerConfig(), 0.0, WIDTH, 4 * WIDTH).double().eval()
    ours = block_of("ffn", BlockSpec.of("conv_mlp"))
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x = batch("ffn")
    torch.testing.assert_close(ours(x), theirs(x), **EXACT)


@torch.no_grad()
def test_star_multiplies_two_expansions() -> None:
    block, x = block_of("ffn", BlockSpec.of("star", ratio=2)), 4 * batch("ffn")
    w = block.state_dict()
    star = linear(x, w, "expand").clamp(0, 6) * linear(x, w, "expand2")
    torch.testing.assert_close(block(x), linear(star, w, "project"), **EXACT)
    cost = count(block, x[:1].to("meta"))
    assert (cost.params, cost.macs) == (6 * WIDTH**2 + 5 * WIDTH, 70 * 6 * WIDTH**2)


# Stems


def test_no_stem_leaves_the_image_alone() -> None:
    x = batch("stem")
    assert make("stem", BlockSpec.of("none"))(x) is x


def halved(length: int) -> Tensor:
    """(ceil(length / 2), length): bilinear interpolation at the centres of the new pixels, pixels as areas."""
    new = -(-length // 2)
    matrix = torch.zeros(new, length, dtype=torch.float64)
    for i in range(new):
        at = max((i + 0.5) * length / new - 0.5, 0.0)
        low = int(at)
        matrix[i, low] += 1 - (at - low)
        matrix[i, min(low + 1, length - 1)] += at - low
    return matrix


@pytest.mark.parametrize(("shrink", "blocks"), [(1, 1), (2, 1), (2, 3)])
@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_the_resizer_is_the_formula(shrink: int, blocks: int, training: bool) -> None:
    block, x = block_of("stem", BlockSpec.of("resizer", blocks=blocks, shrink=shrink)).train(training), batch("stem")
    w = {name: value.clone() for name, value in block.state_dict().items()}

    def conv(x: Tensor, name: str) -> Tensor:
        weight, bias = w[f"{name}.weight"], w.get(f"{name}.bias", torch.zeros(1).double())
        patches = functional.unfold(x, weight.shape[2:], padding=weight.shape[2] // 2)
        return (weight.flatten(1) @ patches).unflatten(2, x.shape[2:]) + bias[:, None, None]

    def leaky(x: Tensor) -> Tensor:
        return torch.where(x < 0, 0.2 * x, x)

    def own_norm(x: Tensor, name: str) -> Tensor:
        if not training:
            return norm(x, w, name)
        moments = {"running_mean": x.mean((0, 2, 3)), "running_var": x.var((0, 2, 3), correction=0)}
        return norm(x, w | {f"{name}.{key}": value for key, value in moments.items()}, name)

    def resize(x: Tensor) -> Tensor:
        return x if shrink == 1 else halved(x.shape[2]) @ x @ halved(x.shape[3]).T

    found = block(x)
    start = resize(own_norm(leaky(conv(leaky(conv(x, "enter.0")), "enter.2")), "norm"))
    y = start
    for i in range(blocks):
        inner = leaky(own_norm(conv(y, f"blocks.{i}.layers.0"), f"blocks.{i}.layers.1"))
        y = y + own_norm(conv(inner, f"blocks.{i}.layers.3"), f"blocks.{i}.layers.4")
    y = start + own_norm(conv(y, "refine.0"), "refine.1")
    torch.testing.assert_close(found, conv(y, "project") + resize(x), **EXACT)


def test_the_resizer_has_the_published_number_of_parameters() -> None:
    assert count(make("stem", BlockSpec.of("resizer")), torch.empty(1, 3, 8, 9, device="meta")).params == 12_035
