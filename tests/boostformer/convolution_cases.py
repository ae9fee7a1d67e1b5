"""Convolutional blocks in double precision, and the layers in them as slow formulas."""

from __future__ import annotations

import torch
from block_cases import inputs, make, trained
from torch import Tensor, nn
from torch.nn import functional

from boostformer.architecture import BlockSpec

WIDTH = 6
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def block_of(kind: str, spec: BlockSpec) -> nn.Module:
    return trained(make(kind, spec, WIDTH)).double()


def batch(kind: str, height: int = 7, length: int = 10) -> Tensor:
    x = inputs(kind, height, length, WIDTH)
    assert isinstance(x, Tensor)
    return x.double()


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
