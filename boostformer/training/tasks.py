"""Tasks of training, segmentation and classification: each supplies the samples and the loss."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from boostformer.data import Pictures, SegmentationSplit
from boostformer.data.augment import Augmentation, SegmentationAugmentation
from boostformer.data.normalise import IMAGENET, Normalisation, normalise
from boostformer.errors import UserError
from boostformer.training.heads import Outputs, WithHeads
from boostformer.training.losses import SegmentationLoss, chance, class_weights
from boostformer.training.recipes import PretrainRecipe, Recipe


class Task(Protocol):
    """Samples by position (an endless, shuffled sequence) and the loss of a batch of them."""

    num_classes: int

    @property
    def samples(self) -> Dataset[tuple[Tensor, Any]]:
        """An augmented uint8 image (H, W, 3) and its target, a tensor or several by name, at each position."""
        ...

    def batch(self, images: Tensor, targets: Any, iteration: int) -> tuple[Tensor, Any]:
        """Make of samples the network's input, float ``(B, 3, H, W)``, and the targets of :meth:`loss`."""
        ...

    def trained(self, model: nn.Module) -> nn.Module:
        """Give what is trained in place of ``model``: itself, or with parts around it that exist in training alone."""
        ...

    def loss(self, outputs: Tensor | Outputs, targets: Any) -> Tensor:
        """Compute the loss of what :meth:`trained` gives, a scalar."""
        ...

    def weight(self, targets: Tensor) -> Tensor:
        """Give how much a part of a batch counts in its loss, which is the weighted mean of its parts' losses."""
        ...

    def chance(self) -> float:
        """Give the loss when all classes are guessed alike; infinity where that is not known."""
        ...


class Shuffled:
    """Endless sequence of indices below ``length``: epoch after epoch, each in its own order."""

    def __init__(self, length: int, seed: int) -> None:
        self._length, self._seed = length, seed
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __getitem__(self, position: int) -> int:
        epoch, place = divmod(position, self._length)
        if epoch != self._epoch:
            self._order = np.random.default_rng((self._seed, epoch)).permutation(self._length)
            self._epoch = epoch
        return int(self._order[place])


class _Samples(Dataset[tuple[Tensor, Tensor]]):
    """Augmented uint8 images and their targets; each is a function of (seed, position)."""

    def __init__(self, split: SegmentationSplit | Pictures, augmentation: Augmentation, seed: int) -> None:
        self.split, self.augmentation, self.seed = split, augmentation, seed
        self.indices = Shuffled(len(split), seed)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        index, seed = self.indices[position], (self.seed, position)
        if isinstance(self.split, Pictures):
            image, target = self.split.image(index), self.split.targets[index]
            # A copy: an unvaried array would still be the cache's own, which cannot be written to.
            return torch.tensor(self.augmentation(seed, image=image)["image"]), torch.tensor(target)
        image, label = self.split.resized(index)
        varied = self.augmentation(seed, image=image, mask=label)
        return torch.from_numpy(varied["image"]), label_tensor(varied["mask"])


def label_tensor(label: NDArray[np.integer]) -> Tensor:
    """Make a tensor of labels; torch can do little with 16 bits without a sign."""
    return torch.from_numpy(label.astype(np.int32) if label.dtype == np.uint16 else label)


class SegmentationTask:
    """The recipe's loss of the logits, and of those of auxiliary heads, over the pixels that are not ignored."""

    def __init__(
        self,
        split: SegmentationSplit,
        size: tuple[int, int],
        recipe: Recipe,
        normalisation: Normalisation | None = IMAGENET,
    ) -> None:
        self.normalisation = normalisation
        self.num_classes, self.config = split.num_classes, recipe.loss
        weights = class_weights(recipe.loss, split)
        self.criterion = SegmentationLoss(recipe.loss, split.num_classes, split.ignored, weights)
        self.augmentation = SegmentationAugmentation(size, recipe)
        self.samples: Dataset[tuple[Tensor, Any]] = _Samples(split, self.augmentation, recipe.seed)

    def batch(self, images: Tensor, targets: Any, iteration: int) -> tuple[Tensor, Any]:
        return normalise(images, self.normalisation), targets.long()

    def trained(self, model: nn.Module) -> nn.Module:
        if not self.config.auxiliary:
            return model
        return WithHeads(model, self.num_classes, self.config.auxiliary_stages)

    def loss(self, outputs: Tensor | Outputs, targets: Any) -> Tensor:
        if isinstance(outputs, Tensor):
            outputs = Outputs(outputs)
        self.criterion.to(targets.device)
        total: Tensor = self.criterion(outputs.logits, targets)
        for logits in outputs.auxiliary:
            total = total + self.config.auxiliary * self.criterion(logits, targets)
        return total

    def weight(self, targets: Tensor) -> Tensor:
        return self.criterion.to(targets.device).weight(targets)

    def chance(self) -> float:
        return chance(self.config, self.num_classes)


class ClassificationTask:
    """Cross-entropy with label smoothing, on images mixed within the batch (mixup or CutMix, evenly)."""

    def __init__(self, split: Pictures, size: tuple[int, int], recipe: Recipe) -> None:
        from boostformer.data.augment_pictures import classification_augmentation  # albumentations imports for long

        if not isinstance(recipe, PretrainRecipe):
            raise UserError("pre-training needs a recipe of kind 'pretrain', which says how images are mixed")
        self.recipe, self.num_classes = recipe, split.num_classes
        augmentation = classification_augmentation(size, recipe.magnitude, recipe.random_erasing, recipe.flip)
        self.samples = _Samples(split, augmentation, recipe.seed)

    def batch(self, images: Tensor, targets: Tensor, iteration: int) -> tuple[Tensor, Tensor]:
        inputs = normalise(images)
        smoothing = self.recipe.label_smoothing
        soft = F.one_hot(targets, self.num_classes) * (1 - smoothing) + smoothing / self.num_classes
        rng = np.random.default_rng((self.recipe.seed, iteration))
        kinds = [kind for kind in ("mixup", "cutmix") if getattr(self.recipe, kind) > 0]
        if not kinds:
            return inputs, soft
        kind = kinds[rng.integers(len(kinds))]
        alpha = getattr(self.recipe, kind)
        return mix(inputs, soft, float(rng.beta(alpha, alpha)), rng if kind == "cutmix" else None)

    def trained(self, model: nn.Module) -> nn.Module:
        return model

    def loss(self, outputs: Tensor | Outputs, targets: Tensor) -> Tensor:
        assert isinstance(outputs, Tensor)
        return F.cross_entropy(outputs.float(), targets)

    def weight(self, targets: Tensor) -> Tensor:
        return torch.tensor(float(len(targets)), device=targets.device)

    def chance(self) -> float:
        return math.log(self.num_classes)


def mix(images: Tensor, targets: Tensor, share: float, rng: np.random.Generator | None) -> tuple[Tensor, Tensor]:
    """Mix each image of a batch with the one at the mirrored place; targets are mixed alike.

    Args:
        images: Float ``(B, 3, H, W)``.
        targets: Float ``(B, classes)``.
        share: How much is kept of each image, 0…1.
        rng: None for mixup (Zhang et al. 2018), a weighted sum; else for CutMix (Yun et al. 2019), which replaces a
            random box of area 1 - share. Where the box sticks out, the share follows the area really replaced.
    """
    others = images.flip(0)
    if rng is None:
        mixed = share * images + (1 - share) * others
    else:
        height, width = images.shape[-2:]
        rows, columns = (_cut(length, math.sqrt(1 - share), rng) for length in (height, width))
        mixed = images.clone()
        mixed[..., rows, columns] = others[..., rows, columns]
        share = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    return mixed, share * targets + (1 - share) * targets.flip(0)


def _cut(length: int, share: float, rng: np.random.Generator) -> slice:
    half, centre = round(length * share) // 2, int(rng.integers(length))
    return slice(max(0, centre - half), min(length, centre + half))
