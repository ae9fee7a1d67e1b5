"""Parts that a network has in training alone: heads and adapters on the maps of its stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from boostformer.errors import UserError
from boostformer.model import BoostFormer


class Outputs(NamedTuple):
    """Outputs of a network in training.

    ``logits`` are its own, ``auxiliary`` those of heads, ``adapted`` maps of its stages as wide as a teacher's.
    """

    logits: Tensor
    auxiliary: tuple[Tensor, ...] = ()
    adapted: tuple[Tensor, ...] = ()


class WithHeads(nn.Module):
    """A network with heads and adapters on its stages; gives :class:`Outputs`.

    Args:
        network: the network itself, whose weights are all that is kept in the end.
        classes: of each head, which is BatchNorm and a 1x1 convolution to them.
        stages: numbers, 1…4, of those with a head.
        adapters: for the number of a stage, the channels that a 1x1 convolution turns its map into.
    """

    def __init__(
        self, network: nn.Module, classes: int, stages: Sequence[int], adapters: Mapping[int, int] | None = None
    ) -> None:
        super().__init__()
        if not isinstance(network, BoostFormer):
            what = "auxiliary heads need" if stages else "distillation of stages needs"
            raise UserError(f"{what} a network with stages, which {type(network).__name__} is not")
        widths = [stage.width for stage in network.architecture.stages]
        self.network = network
        self.stages = [number - 1 for number in stages]
        self.heads = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(widths[i]), nn.Conv2d(widths[i], classes, 1)) for i in self.stages
        )
        self.adapted = [number - 1 for number in adapters or ()]
        self.adapters = nn.ModuleList(
            nn.Conv2d(widths[number - 1], channels, 1) for number, channels in (adapters or {}).items()
        )

    def forward(self, x: Tensor) -> Outputs:
        maps = self.network.forward_features(x)
        logits = self.network.decoder(maps)
        auxiliary = tuple(head(maps[i]) for i, head in zip(self.stages, self.heads, strict=True))
        adapted = tuple(adapter(maps[i]) for i, adapter in zip(self.adapted, self.adapters, strict=True))
        return Outputs(logits, auxiliary, adapted)
