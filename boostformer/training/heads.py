"""Parts that a network has in training alone: heads on the maps of its stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from boostformer.errors import UserError
from boostformer.model import BoostFormer


@dataclass(frozen=True)
class Outputs:
    """What a network gives in training: ``logits``, those of ``auxiliary`` heads, and the ``maps`` of its stages."""

    logits: Tensor
    auxiliary: tuple[Tensor, ...] = ()
    maps: tuple[Tensor, ...] = ()


class WithHeads(nn.Module):
    """A network with heads on stages, each BatchNorm and a 1x1 convolution to the classes; gives :class:`Outputs`.

    ``network`` is the network itself, whose weights are all that is kept in the end.
    """

    def __init__(self, network: nn.Module, classes: int, stages: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(network, BoostFormer):
            raise UserError(f"auxiliary heads need a network with stages, which {type(network).__name__} is not")
        widths = [stage.width for stage in network.architecture.stages]
        self.network = network
        self.stages = [number - 1 for number in stages]
        self.heads = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(widths[i]), nn.Conv2d(widths[i], classes, 1)) for i in self.stages
        )

    def forward(self, x: Tensor) -> Outputs:
        maps = self.network.forward_features(x)
        logits = self.network.decoder(maps)
        auxiliary = tuple(head(maps[i]) for i, head in zip(self.stages, self.heads, strict=True))
        return Outputs(logits, auxiliary, tuple(maps))
