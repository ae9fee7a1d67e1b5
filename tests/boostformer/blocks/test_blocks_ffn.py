"""FFNs against slow formulas and transformers' modules."""

from __future__ import annotations

import pytest
import torch
from convolution_cases import EXACT, WIDTH, batch, block_of, depthwise, linear, norm
from transformers import PoolFormerConfig, SegformerConfig
from transformers.models.poolformer.modeling_poolformer import PoolFormerOutput
from transformers.models.segformer.modeling_segformer import SegformerMixMLP

from boostformer.architecture import BlockSpec
from evaluators.costs.counting import count

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
