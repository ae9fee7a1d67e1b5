"""Segmentation with a teacher: its task, and the samples, images without masks among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from boostformer.data import SegmentationSplit
from boostformer.data.augment import Augmentation
from boostformer.data.normalise import IMAGENET, Normalisation, normalise
from boostformer.data.places import inside, numbered_places
from boostformer.errors import UserError
from boostformer.teachers.networks import Ask, LiveTeacher
from boostformer.teachers.stored import StoredTeacher
from boostformer.teachers.teacher import Teacher, match_classes
from boostformer.training.distillation import DistillationLoss, Taught
from boostformer.training.heads import Outputs, WithHeads
from boostformer.training.recipes import Recipe
from boostformer.training.tasks import SegmentationTask, Shuffled, label_tensor

STRIDE = 4
"""Pixels, along each side, for one logit of a network."""


@dataclass(frozen=True)
class Teaching:
    """A teacher, and the images without masks that are learnt from it alone, if there are any."""

    teacher: Teacher
    unlabelled: SegmentationSplit | None = None

    def check(self, recipe: Recipe) -> None:
        """Raise UserError when nothing would be learnt from the teacher by ``recipe``, or what it cannot teach."""
        config, name = recipe.distillation, self.teacher.identity.id
        if not config.teaches:
            raise UserError(
                f"{name}: nothing is learnt from this teacher: distillation.logits, .channels and .stages are all 0; "
                "raise one of them (--set distillation.logits=1), or leave the teacher out"
            )
        if recipe.accumulate > 1:
            raise UserError(
                f"accumulate: {recipe.accumulate}, but with a teacher a batch is learnt at once; allowed: 1"
            )
        if config.stages and not self.teacher.widths:
            raise UserError(
                f"distillation.stages: {config.stages:g}, but the teacher {name} has no maps of four stages; "
                "allowed: 0, or a teacher of this program or transformers' SegFormer"
            )
        if self.unlabelled is not None and not config.everywhere:
            raise UserError(
                "distillation.everywhere: false, so images without masks would teach nothing; set it to true or leave "
                "them out"
            )

    def about(self) -> dict[str, Any]:
        """Say what a training with it depends on, as plain values."""
        own = self.teacher.identity
        unlabelled = self.unlabelled.content() if self.unlabelled is not None else None
        return {"teacher": {"id": own.id, "sha256": own.sha256}, "images without masks": unlabelled}


class TaughtTask(SegmentationTask):
    """The recipe's loss against the labels, and its distillation from a teacher; a batch's targets are :class:`Taught`.

    The teacher is no part of what is trained: no optimiser and no saved state knows it.
    """

    def __init__(
        self,
        split: SegmentationSplit,
        size: tuple[int, int],
        recipe: Recipe,
        teaching: Teaching,
        normalisation: Normalisation | None = IMAGENET,
    ) -> None:
        super().__init__(split, size, recipe, normalisation)
        teaching.check(recipe)
        if isinstance(teaching.teacher, LiveTeacher) and normalisation != IMAGENET:
            raise UserError(
                f"{teaching.teacher.identity.id}: a network as a teacher sees RGB images, but these have other bands; "
                "allowed: a folder of its logits"
            )
        rows, _ = match_classes(teaching.teacher, split.labels)
        self.distillation, self.teacher, self.ignored = recipe.distillation, teaching.teacher, split.ignored
        self.ask: Ask | None = None  # instead of a network as a teacher: what replays it, for this training alone
        self.against = DistillationLoss(recipe.distillation, rows)
        self.places = size[0] * size[1] // STRIDE**2
        self.samples = TaughtSamples(split, teaching, self.augmentation, recipe)

    def batch(self, images: Tensor, targets: dict[str, Tensor], iteration: int) -> tuple[Tensor, Taught]:
        inputs, labels = normalise(images, self.normalisation), targets["labels"].long()
        where = targets["inside"]
        if not self.distillation.everywhere:
            where = where & (labels != self.ignored)
        if isinstance(self.teacher, LiveTeacher):
            logits, maps = (self.ask or self.teacher)(inputs)
            return inputs, Taught(labels, where, logits, maps)
        return inputs, Taught(labels, where, targets["logits"])

    def trained(self, model: nn.Module) -> nn.Module:
        heads = self.config.auxiliary_stages if self.config.auxiliary else ()
        numbers = self.distillation.stage_numbers if self.distillation.stages else ()
        if not heads and not numbers:
            return model
        adapters = {number: self.teacher.widths[number - 1] for number in numbers}
        return WithHeads(model, self.num_classes, heads, adapters)

    def loss(self, outputs: Tensor | Outputs, targets: Taught) -> Tensor:
        if isinstance(outputs, Tensor):
            outputs = Outputs(outputs)
        self.against.to(targets.labels.device)
        taught: Tensor = self.against(outputs, targets)
        return super().loss(outputs, targets.labels) + taught

    def chance(self) -> float:
        return super().chance() + self.against.chance(self.places)


class TaughtSamples(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Augmented uint8 images and what is known of them; each is a function of the recipe's seed and the position.

    A target has ``labels`` (H, W); ``inside`` (H, W), false on padding; and of a stored teacher ``logits``
    (classes, H/4, W/4).
    """

    def __init__(
        self, split: SegmentationSplit, teaching: Teaching, augmentation: Augmentation, recipe: Recipe
    ) -> None:
        self.splits = [split] if teaching.unlabelled is None else [split, teaching.unlabelled]
        self.augmentation, self.seed = augmentation, recipe.seed
        self.stored = teaching.teacher if isinstance(teaching.teacher, StoredTeacher) else None
        share = recipe.distillation.unlabelled_share
        self.places = Interleaved([len(one) for one in self.splits], share, recipe.seed)

    def __getitem__(self, position: int) -> tuple[Tensor, dict[str, Tensor]]:
        number, index = self.places[position]
        split = self.splits[number]
        image, label = split.resized(index)
        whole = image.shape[:2]
        seed = (self.seed, position)
        varied = self.augmentation(seed, image=image, mask=label, places=numbered_places(whole))
        places = varied["places"]
        target = {"labels": label_tensor(varied["mask"]), "inside": torch.from_numpy(inside(places, whole))}
        if self.stored is not None:
            shape = (-(-places.shape[0] // STRIDE), -(-places.shape[1] // STRIDE))
            target["logits"] = self.stored.seen(split.name(index), places, whole, shape)
        return torch.from_numpy(varied["image"]), target


class Interleaved:
    """The part (0 or 1) and the index in it at each position of an endless sequence.

    Args:
        lengths: of one part or of two.
        share: of the second part, evenly spread; None for its share of all images.
        seed: each part is shuffled by it, epoch after epoch.
    """

    def __init__(self, lengths: list[int], share: float | None, seed: int) -> None:
        self._orders = [Shuffled(length, seed) for length in lengths]
        second = lengths[1:] or [0]
        self._second = second[0] / sum(lengths) if share is None or not second[0] else share

    def __getitem__(self, position: int) -> tuple[int, int]:
        before = int(position * self._second)
        if int((position + 1) * self._second) > before:
            return 1, self._orders[1][before]
        return 0, self._orders[0][position - before]
