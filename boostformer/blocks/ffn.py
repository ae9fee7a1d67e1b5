"""Feed-forward networks: they mix the channels of each position."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from boostformer.blocks.block import Block, Channels, Foldable, Options, Runs, Size
from boostformer.blocks.convolution import depthwise
from boostformer.blocks.folding import absorb_input, absorb_output, affine_of, merge, set_weights
from boostformer.blocks.registry import OneOf, register

RATIOS = OneOf(1, 2, 3, 4, 6, 8)


def hardswish(x: Tensor) -> Tensor:
    """x * relu6(x + 3) / 6; exported in two steps, since ONNX has it in one only from opset 14 on."""
    return x * functional.hardsigmoid(x) if torch.compiler.is_exporting() else functional.hardswish(x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "relu": functional.relu,
    "hardswish": hardswish,
}
Activation = Annotated[str, OneOf(*ACTIVATIONS)]


class _ExpandProject(Block):
    """A 1x1 convolution at the entrance and one at the exit; in between is the subclass's."""

    expand: nn.Conv2d
    project: nn.Conv2d

    def absorb_input(self, scale: Channels, shift: Channels | None) -> bool:
        return absorb_input(self.expand, scale, shift)

    def absorb_output(self, scale: Channels, shift: Channels | None) -> bool:
        return absorb_output(self.project, scale, shift)


class _Depthwise(_ExpandProject):
    """Expand, depthwise convolution, activation, project."""

    def __init__(
        self, expand: nn.Conv2d, depthwise: nn.Conv2d, activation: Callable[[Tensor], Tensor], project: nn.Conv2d
    ) -> None:
        super().__init__()
        self.expand = expand
        self.depthwise = depthwise
        self.activation = activation
        self.project = project

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.activation(self.depthwise(self.expand(x))))

    @torch.no_grad()
    def take(self, other: Block) -> bool:
        """Be the same as an FFN without neighbours or with halves, so far as the kernel reaches."""
        return _take_plain(self, (self.depthwise,), other)


def _centred(weight: Tensor, side: int) -> Tensor:
    """Give filters (..., k, k) a kernel of ``side``: zeros around it, or its centre."""
    return functional.pad(weight, [(side - weight.shape[-1]) // 2] * 4)


@torch.no_grad()
def _take_plain(ffn: _Depthwise | MixCFN, convs: Sequence[nn.Conv2d], other: Block) -> bool:
    """Let ``ffn``, whose depthwise ``convs`` have equal parts of its channels, be as :func:`_plain` makes ``other``.

    False where that makes nothing, or has another number of channels.
    """
    found = _plain(other)
    if found is None or found.expand.weight.shape != ffn.expand.weight.shape:
        return False
    for own, theirs in ((ffn.expand, found.expand), (ffn.project, found.project)):
        own.load_state_dict(theirs.state_dict())
    assert found.depthwise.bias is not None
    weights, biases = (part.chunk(len(convs)) for part in (found.depthwise.weight, found.depthwise.bias))
    for conv, weight, bias in zip(convs, weights, biases, strict=True):
        assert conv.bias is not None
        conv.weight.copy_(_centred(weight, conv.kernel_size[0]))
        conv.bias.copy_(bias)
    return True


def _plain(ffn: Block) -> _Depthwise | None:
    """Make the FFN with one depthwise convolution that computes the same in eval mode; None where there is none."""
    if isinstance(ffn, _Depthwise):
        return ffn
    if isinstance(ffn, ConvMLP):
        conv = depthwise(ffn.expand.out_channels, 1)
        assert conv.bias is not None
        nn.init.ones_(conv.weight)
        nn.init.zeros_(conv.bias)
        return _Depthwise(ffn.expand, conv, ffn.activation, ffn.project)
    if not isinstance(ffn, MixCFN):
        return None
    halves = copy.deepcopy(ffn).eval()
    merge(halves.expand, halves.norm1)
    conv = depthwise(halves.expand.out_channels, 5)
    near, far = halves.depthwise3, halves.depthwise5
    conv.weight.copy_(torch.cat([_centred(near.weight, 5), far.weight]))
    assert conv.bias is not None and near.bias is not None and far.bias is not None
    conv.bias.copy_(torch.cat([near.bias, far.bias]))
    merge(conv, halves.norm2)
    return _Depthwise(halves.expand, conv, ffn.activation, halves.project)


@register("ffn", "mix_ffn", source="SegFormer, Xie et al. 2021")
class MixFFN(_Depthwise):
    """Expand, depthwise convolution, activation, project.

    Args:
        width: channels.
        ratio: channels behind the expansion for each of ``width``.
        kernel: of the depthwise convolution.
        activation: its name.
    """

    def __init__(
        self,
        width: int,
        *,
        ratio: Annotated[int, RATIOS] = 4,
        kernel: Annotated[int, OneOf(3, 5)] = 3,
        activation: Activation = "gelu",
    ) -> None:
        hidden = ratio * width
        super().__init__(
            nn.Conv2d(width, hidden, 1),
            depthwise(hidden, kernel),
            ACTIVATIONS[activation],
            nn.Conv2d(hidden, width, 1),
        )


@register("ffn", "mix_cfn", source="BoostFormer publication; MixConv, Tan & Le 2019")
class MixCFN(_ExpandProject):
    """Expand, BN, half the channels 3x3 and half 5x5 depthwise, BN, activation, project."""

    def __init__(self, width: int, *, ratio: Annotated[int, RATIOS] = 4, activation: Activation = "gelu") -> None:
        super().__init__()
        hidden = ratio * width
        self.expand = nn.Conv2d(width, hidden, 1)
        self.norm1: nn.Module = nn.BatchNorm2d(hidden)
        self.depthwise3 = depthwise(hidden // 2, 3)
        self.depthwise5 = depthwise(hidden // 2, 5)
        self.norm2: nn.Module = nn.BatchNorm2d(hidden)
        self.activation = ACTIVATIONS[activation]
        self.project = nn.Conv2d(hidden, width, 1)

    @staticmethod
    def refusal(width: int, size: Size, options: Options) -> str | None:
        if options["ratio"] * width % 2:
            return f"ratio {options['ratio']} times width {width} is odd: its two halves would differ"
        return None

    def runs(self) -> dict[str, tuple[Runs, Runs]]:
        """Halves."""
        halves: Runs = (self.depthwise3.out_channels,) * 2
        norms = {
            f"{norm}.{name}": (halves, ())
            for norm in ("norm1", "norm2")
            for name in ("weight", "bias", "running_mean", "running_var")
        }
        return norms | {
            "expand.weight": (halves, ()),
            "expand.bias": (halves, ()),
            "project.weight": ((), halves),
        }

    @torch.no_grad()
    def take(self, other: Block) -> bool:
        """Be the same as an FFN with one kernel, until BatchNorm sees a batch; half of a larger kernel is lost."""
        return _take_plain(self, (self.depthwise3, self.depthwise5), other)

    def forward(self, x: Tensor) -> Tensor:
        near, far = self.norm1(self.expand(x)).chunk(2, dim=1)
        x = torch.cat([self.depthwise3(near), self.depthwise5(far)], dim=1)
        return self.project(self.activation(self.norm2(x)))

    @torch.no_grad()
    def fold(self) -> nn.Module:
        """Become a sum of two branches: the halves only meet in ``project``, so no split or concatenation is needed."""
        merge(self.expand, self.norm1)
        assert isinstance(self.norm2, nn.BatchNorm2d) and self.expand.bias is not None
        affine = zip(*(channels.chunk(2) for channels in affine_of(self.norm2)), strict=True)
        hidden = self.expand.out_channels
        branches = []
        for half, (conv, (scale, shift)) in enumerate(zip((self.depthwise3, self.depthwise5), affine, strict=True)):
            own = slice(half * hidden // 2, (half + 1) * hidden // 2)
            absorb_output(conv, scale, shift)
            expand = _with(self.expand, self.expand.weight[own], self.expand.bias[own])
            project = _with(self.project, self.project.weight[:, own], None if half else self.project.bias)
            branches.append(_Depthwise(expand, conv, self.activation, project))
        return _Sum(*branches)


def _with(conv: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """A convolution like ``conv`` with these weights."""
    made = copy.deepcopy(conv)
    set_weights(made, weight, bias)
    made.out_channels, made.in_channels = weight.shape[:2]
    return made


class _Sum(Foldable):
    """Two branches, added."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)

    def absorb_input(self, scale: Channels, shift: Channels | None) -> bool:
        return all(absorb_input(branch, scale, shift) for branch in (self.first, self.second))

    def absorb_output(self, scale: Channels, shift: Channels | None) -> bool:
        return absorb_output(self.first, scale, shift) and absorb_output(self.second, scale)


@register("ffn", "conv_mlp", source="PoolFormer, Yu et al. 2022")
class ConvMLP(_ExpandProject):
    """Expand, activation, project: no neighbours are seen."""

    def __init__(self, width: int, *, ratio: Annotated[int, RATIOS] = 4, activation: Activation = "gelu") -> None:
        super().__init__()
        self.expand = nn.Conv2d(width, ratio * width, 1)
        self.activation = ACTIVATIONS[activation]
        self.project = nn.Conv2d(ratio * width, width, 1)

    @torch.no_grad()
    def take(self, other: Block) -> bool:
        """Sum the filters of an FFN that sees neighbours: the same on a map that is smooth."""
        found = _plain(other)
        if found is None or found.expand.weight.shape != self.expand.weight.shape:
            return False
        self.expand.load_state_dict(found.expand.state_dict())
        self.project.load_state_dict(found.project.state_dict())
        assert self.expand.bias is not None and found.depthwise.bias is not None
        factor = found.depthwise.weight.sum(dim=(1, 2, 3))
        self.expand.weight.mul_(factor[:, None, None, None])
        self.expand.bias.mul_(factor).add_(found.depthwise.bias)
        return True

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.activation(self.expand(x)))


@register("ffn", "star", source="StarNet, Ma et al. 2024")
class Star(_ExpandProject):
    """Expand twice, multiply the two, one of them through ReLU6, project: no neighbours are seen."""

    def __init__(self, width: int, *, ratio: Annotated[int, RATIOS] = 4) -> None:
        super().__init__()
        self.expand = nn.Conv2d(width, ratio * width, 1)
        self.expand2 = nn.Conv2d(width, ratio * width, 1)
        self.project = nn.Conv2d(ratio * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(functional.relu6(self.expand(x)) * self.expand2(x))

    def absorb_input(self, scale: Channels, shift: Channels | None) -> bool:
        return absorb_input(self.expand, scale, shift) and absorb_input(self.expand2, scale, shift)
