"""Pieces that stages and the decoder are put together from: residual branches, layers, the way from maps to logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from boostformer.blocks.block import Block, Foldable
from boostformer.blocks.decoders import upsample
from boostformer.blocks.folding import absorb_input, absorb_output, affine_of, merge, set_weights
from boostformer.blocks.norms import LayerScale


class DropPath(nn.Module):
    """Drops a residual branch of whole images at random while training (Huang et al. 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = torch.empty((len(x), 1, 1, 1), device=x.device, dtype=x.dtype).bernoulli_(1 - self.rate)
        return x * keep / (1 - self.rate)


class Branch(Foldable):
    """A residual branch: norm, block, local connection and LayerScale, of which only the block must be there.

    Args:
        block: a mixer or an FFN.
        norm: in front of it.
        scale: LayerScale, behind it.
        local_connection: whether the block's input, normed, is added to its output.
        drop_path: the share of images that skip the branch while training.
    """

    def __init__(
        self,
        block: nn.Module,
        norm: nn.Module | None = None,
        scale: nn.Module | None = None,
        local_connection: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm = norm or nn.Identity()
        self.block = block
        self.scale = scale or nn.Identity()
        self.local_connection = local_connection
        self.drop_path: nn.Module = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        mixed = self.block(x)
        if self.local_connection:
            mixed = mixed + x
        return self.drop_path(self.scale(mixed))

    def fold(self) -> nn.Module:
        """The block takes over BatchNorm and LayerScale, unless its input is also added to its output."""
        self.drop_path = nn.Identity()
        if self.local_connection:
            return self
        if isinstance(self.norm, nn.BatchNorm2d) and absorb_input(self.block, *affine_of(self.norm)):
            self.norm = nn.Identity()
        if isinstance(self.scale, LayerScale) and absorb_output(self.block, self.scale.gamma.double()):
            self.scale = nn.Identity()
        bare = isinstance(self.norm, nn.Identity) and isinstance(self.scale, nn.Identity)
        return self.block if bare else self


class Layer(nn.Module):
    """One residual layer: a token mixer, then an FFN, then a norm on the trunk or none."""

    def __init__(self, mixer: nn.Module, ffn: nn.Module, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.mixer = mixer
        self.ffn = ffn
        self.norm = norm or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(x)
        return self.norm(x + self.ffn(x))


class SegmentationDecoder(Foldable):
    """Project each map to one width, fuse at the finest, BN, ReLU, dropout .1, classify.

    Args:
        projections: a layer for each map, finest first: (B, C_i, H_i, W_i) -> (B, width, H_i, W_i).
        fusion: the four maps -> (B, width, H_0, W_0).
        norm: the BatchNorm behind it.
        classifier: (B, width, H_0, W_0) -> logits (B, classes, H_0, W_0).
    """

    def __init__(self, projections: list[nn.Module], fusion: nn.Module, norm: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.projections = nn.ModuleList(projections)
        self.fusion: nn.Module = fusion
        self.norm: nn.Module = norm
        self.dropout: nn.Module = nn.Dropout2d(0.1)
        self.classifier = classifier

    def forward(self, maps: list[Tensor]) -> Tensor:
        projected = [project(x) for project, x in zip(self.projections, maps, strict=True)]
        return self.classifier(self.dropout(functional.relu(self.norm(self.fusion(projected)), inplace=True)))

    @torch.no_grad()
    def fold(self) -> nn.Module:
        """A linear fusion goes into the projections, since a 1x1 convolution commutes with a bilinear resize."""
        self.dropout = nn.Identity()
        if not (isinstance(self.fusion, Block) and self.fusion.is_linear()):
            self.norm = merge(self.fusion, self.norm)
            return self
        assert isinstance(self.norm, nn.BatchNorm2d)
        scale, total = affine_of(self.norm)
        projections = [layer for layer in self.projections if isinstance(layer, nn.Conv2d)]
        for layer, part in zip(projections, self.fusion.linear_parts(), strict=True):
            assert layer.bias is not None
            weight, bias = layer.weight.double().flatten(1), layer.bias.double()
            weight, bias = (part @ weight, part @ bias) if part.dim() else (part * weight, part * bias)
            total = total + scale * bias
            set_weights(layer, (scale[:, None] * weight)[:, :, None, None], None)
        set_weights(projections[0], projections[0].weight, total)  # all biases in one: a resize keeps a constant
        self.fusion, self.norm = UpsampledSum(), nn.Identity()
        return self


class UpsampledSum(nn.Module):
    """A linear fusion whose weights are in the projections: a sum of the maps at the finest resolution."""

    def forward(self, features: list[Tensor]) -> Tensor:
        # In place after the first sum: at full width and 1/4 of the input a fresh map costs more than its sum.
        total = features[0] + upsample(features[1], features[0])
        for x in features[2:]:
            total += upsample(x, features[0])
        return total


class LabelMap(nn.Module):
    """The step behind the logits on a device that needs labels: upsampling to ``size`` (H, W), and the best class."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, logits: Tensor) -> Tensor:
        """(B, classes, h, w) -> (B, H, W), int64."""
        return functional.interpolate(logits, size=self.size, mode="bilinear", align_corners=False).argmax(dim=1)
