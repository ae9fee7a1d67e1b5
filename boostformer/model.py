"""Networks: an encoder of four stages with a decoder or a classifier, built from :mod:`boostformer.parts`."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from torch import Tensor, nn

from boostformer.architecture import RGB_BANDS, Architecture
from boostformer.blocks import registry
from boostformer.blocks.block import Block, Foldable
from boostformer.data.bands import ImageReading, reading_in
from boostformer.data.normalise import IMAGENET, Normalisation
from boostformer.errors import UserError
from boostformer.files import is_file
from boostformer.layers import DropPath, Layer, SegmentationDecoder
from boostformer.parts import StageParts, decoder_parts, stage_parts, stem_part
from boostformer.weights import checkpoint, importers
from boostformer.weights.card import CARD, PICTURE, Described, card, may_write
from boostformer.weights.preprocessor import PREPROCESSOR, preprocessor


class EncoderStage(nn.Module):
    """Embed, layers and, after pre-norm layers, a LayerNorm; ``drop_paths`` has the rate of each layer."""

    def __init__(self, own: StageParts, drop_paths: list[float]) -> None:
        super().__init__()
        self.embed = own.embed.build()
        self.layers = nn.Sequential(*(_layer(own, rate) for rate in drop_paths))
        self.norm = own.stage_norm.build() if own.stage_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layers(self.embed(x)))


def _layer(own: StageParts, drop_path: float) -> Layer:
    layer = Layer(own.mixer.build(), own.ffn.build(), own.layer_norm.build() if own.layer_norm else None)
    for module in layer.modules():
        if isinstance(module, DropPath):
            module.rate = drop_path
    return layer


class Encoder(nn.Module):
    """Stem and four stages; ``forward`` gives the map of each stage, finest first."""

    def __init__(self, arch: Architecture, drop_path: float = 0.0) -> None:
        super().__init__()
        self.stem = stem_part(arch).build()
        depth = sum(stage.depth for stage in arch.stages)
        rates = iter([drop_path * i / max(depth - 1, 1) for i in range(depth)])
        self.stages = nn.ModuleList(
            EncoderStage(stage_parts(arch, i), [next(rates) for _ in range(stage.depth)])
            for i, stage in enumerate(arch.stages)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x, maps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def _decoder(arch: Architecture) -> SegmentationDecoder:
    own = decoder_parts(arch)
    fusing = own.fusion.build()
    assert isinstance(fusing, nn.Sequential)
    projections = [part.build() for part in own.projections]
    return SegmentationDecoder(projections, fusing[0], fusing[1], own.classify.build())


class Network(Foldable, PyTorchModelHubMixin, library_name="boostformer"):
    """Base of segmenter and classifier: an encoder that can be saved and loaded.

    ``save_pretrained``, ``from_pretrained`` and ``push_to_hub`` are the mixin's, but for the card (see
    :mod:`boostformer.weights.card`).

    Attributes:
        architecture: complete; one that is given with options left out takes the defaults, an illegal one raises
            :class:`UserError`.
        labels: class names in order.
        provenance: how the weights came about: data, recipe, seed, metrics; ``licence`` is that of the card.
        normalisation: mean and deviation of the bands; of others than three None until they are known.
        picture: a PNG for the card, of a validation image with its label and the prediction, if there is one.
        folded: whether this is a folded copy, which can be neither trained nor saved.
    """

    kind = ""
    folded = False

    def __init__(self, architecture: Architecture | dict[str, Any], drop_path: float = 0.0) -> None:
        super().__init__()
        if not isinstance(architecture, Architecture):
            architecture = Architecture.from_dict(architecture)
        self.architecture = registry.complete(architecture)
        self.labels: list[str] = []
        self.provenance: dict[str, Any] = {}
        self.picture: bytes | None = None
        self.normalisation: Normalisation | None = IMAGENET if self.architecture.bands == RGB_BANDS else None
        self.encoder = Encoder(self.architecture, drop_path)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """(B, bands, H, W) -> the four stage maps at 1/4, 1/8, 1/16 and 1/32."""
        return self.encoder(x.contiguous(memory_format=torch.channels_last))

    @property
    def reading(self) -> ImageReading:
        """Reading of image files for this network: as those that it was trained on, so far as it says."""
        return reading_in(self.provenance, self.architecture.bands)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The network saved in a local folder, in eval mode; :class:`UserError` says what is wrong with it."""
        config, weights = checkpoint.read(folder, cls.kind)
        try:
            cls._shapes(config.architecture).load_state_dict(weights, assign=True)
        except RuntimeError as error:
            raise UserError(
                f"{folder}: weights and architecture differ: {' '.join(str(error).split())[:200]}"
            ) from None
        model = cls(config.architecture)
        model.load_state_dict(weights)
        model.labels, model.provenance = config.labels, config.provenance
        if config.normalisation is not None:
            model.normalisation = Normalisation(**config.normalisation)
        if is_file(picture := Path(folder) / PICTURE):
            model.picture = picture.read_bytes()
        return model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @classmethod
    def _shapes(cls, architecture: Architecture) -> Self:
        """Make a network without numbers to hold weights against: an architecture may ask for any amount of memory."""
        with torch.device("meta"):
            return cls(architecture)

    def fold(self) -> Self:
        """Mark a copy that :func:`boostformer.fold.fold` has taken apart: it cannot be trained or saved any more."""
        self.folded = True
        return self

    def _save_pretrained(self, save_directory: Path) -> None:
        if self.folded:
            raise ValueError("a folded network cannot be saved: keep the one it was made from, and export this one")
        checkpoint.save(
            save_directory,
            self.state_dict(),
            kind=self.kind,
            architecture=self.architecture,
            labels=self.labels,
            provenance=self.provenance,
            normalisation=None if self.normalisation in (None, IMAGENET) else asdict(self.normalisation),
            beside=self._beside(save_directory),
        )

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Write the card of this network as it is now; the mixin's template and its arguments play no part."""
        return ModelCard(self._card())

    def _card(self) -> str:
        params = sum(value.numel() for value in self.parameters())
        about = (self.kind, self.architecture, self.labels, self.provenance, params, self.picture is not None)
        return card(Described(*about))

    def _beside(self, folder: Path) -> dict[str, bytes | None]:
        """Give what lies beside the weights: card and picture, unless the card is somebody's own, and preparation."""
        files: dict[str, bytes | None] = {}
        if may_write(folder):
            files |= {CARD: self._card().encode(), PICTURE: self.picture}
        prepared = None
        if self.kind == "segmenter" and self.architecture.bands == RGB_BANDS and self.normalisation is not None:
            by = self.normalisation
            prepared = preprocessor(self.architecture.size, by.mean, by.std, self.provenance)
        files[PREPROCESSOR] = None if prepared is None else (json.dumps(prepared, indent=2) + "\n").encode()
        return files

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **settings: Any) -> Self:
        return cls.load(checkpoint.find(model_id, **settings))


class BoostFormer(Network):
    """A segmentation network."""

    kind = "segmenter"

    def __init__(self, architecture: Architecture | dict[str, Any], drop_path: float = 0.0) -> None:
        super().__init__(architecture, drop_path)
        self.decoder = _decoder(self.architecture)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(B, bands, H, W) -> logits (B, classes, H/4, W/4), smaller by the factor of a stem that shrinks."""
        return self.decoder(self.forward_features(x))


class Classifier(Network):
    """The encoder with a pooled linear head, for pre-training; the architecture's ``classes`` are the pictures'."""

    kind = "classifier"

    def __init__(self, architecture: Architecture | dict[str, Any], drop_path: float = 0.0) -> None:
        super().__init__(architecture, drop_path)
        self.decoder = nn.Linear(self.architecture.stages[-1].width, self.architecture.classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(B, bands, H, W) -> logits (B, classes)."""
        return self.decoder(self.forward_features(x)[-1].mean(dim=(2, 3)))


def initialise(module: nn.Module) -> None:
    """NVlabs' start: linear layers (1x1 convolutions too) truncated normal .02, others by fan-out, biases 0.

    A block then starts as its :meth:`Block.initialise` says; ``nn.Module.apply`` comes to it after its layers.
    """
    if isinstance(module, Block):
        module.initialise()
    if isinstance(module, nn.Linear | nn.Conv2d):
        if isinstance(module, nn.Linear) or (module.kernel_size == (1, 1) and module.groups == 1):
            nn.init.trunc_normal_(module.weight, std=0.02)
        else:
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def build(architecture: Architecture, drop_path: float = 0.0) -> BoostFormer:
    """A fresh network; options left out take their defaults, illegal ones raise :class:`UserError`."""
    return BoostFormer(architecture, drop_path).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def import_checkpoint(folder: str | Path, notes: list[str] | None = None) -> BoostFormer:
    """Make a network, in eval mode, of a folder with transformers' SegFormer or MiT or the publication's BoostFormer.

    Its ``labels`` are the class names of ``id2label``. ``notes`` collects what a user should know: dead weights that
    were skipped, a decoder that the file does not hold. :class:`UserError` names what is missing, unknown or of
    another shape.
    """
    found = importers.read(folder)
    found.fill(BoostFormer._shapes(found.architecture).state_dict())
    model = build(found.architecture)
    model.load_state_dict(found.fill(model.state_dict()))
    model.labels = found.labels
    if notes is not None:
        notes += found.notes
    return model.eval()


__all__ = ["BoostFormer", "Classifier", "Network", "build", "import_checkpoint", "initialise"]
