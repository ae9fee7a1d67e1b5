"""Stems: they make another image of the input before the first stage, also a smaller one."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn
from torch.nn import functional

from boostformer.blocks.block import Block
from boostformer.blocks.registry import OneOf, register

WIDTH, SLOPE = 16, 0.2


@register("stem", "none", source="SegFormer, Xie et al. 2021")
class NoStem(Block):
    """The image as it is."""

    def __init__(self, bands: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


@register("stem", "resizer", source="Learning to Resize Images, Talebi & Milanfar 2021")
class Resizer(Block):
    """A small residual network that makes the image `shrink` times smaller, next to a bilinear resize."""

    def __init__(
        self, bands: int, *, blocks: Annotated[int, OneOf(1, 2, 3)] = 1, shrink: Annotated[int, OneOf(1, 2)] = 2
    ) -> None:
        super().__init__()
        self.shrink = shrink
        self.enter = nn.Sequential(
            nn.Conv2d(bands, WIDTH, 7, padding=3),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(WIDTH, WIDTH, 1),
            nn.LeakyReLU(SLOPE, inplace=True),
        )
        self.norm = nn.BatchNorm2d(WIDTH)
        self.blocks = nn.Sequential(*(_Block() for _ in range(blocks)))
        self.refine = nn.Sequential(*_conv_norm())
        self.project = nn.Conv2d(WIDTH, bands, 7, padding=3)

    def initialise(self) -> None:
        """Start as a plain bilinear resize: a random image added to it would only disturb the first stage."""
        nn.init.zeros_(self.project.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, bands, H, W) -> (B, bands, ceil(H / shrink), ceil(W / shrink))."""
        features = self.enter(x)
        if self.training:
            features = self._resize(self.norm(features))
        else:
            # Now the norm is a factor and a term per channel: they commute with the resize, on fewer positions.
            # They go no further: padding bars the term from the next convolutions, the skips the factor.
            features = self.norm(self._resize(features))
        return self.project(features + self.refine(self.blocks(features))) + self._resize(x)

    def _resize(self, x: Tensor) -> Tensor:
        if self.shrink == 1:
            return x
        size = [-(-int(length) // self.shrink) for length in x.shape[2:]]
        return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_conv_norm(), nn.LeakyReLU(SLOPE, inplace=True), *_conv_norm())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _conv_norm() -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH)
