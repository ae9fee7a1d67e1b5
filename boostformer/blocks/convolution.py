"""Token mixers that look at a neighbourhood only."""

from __future__ import annotations

from torch import Tensor, nn

from boostformer.blocks.registry import register


@register("mixer", "pooling", source="PoolFormer, Yu et al. 2022")
class Pooling(nn.Module):
    """Average of the 3x3 neighbourhood minus the position itself; no parameters."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x) - x
