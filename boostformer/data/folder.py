"""Data sets in folders: a layout's samples with the classes that their mask values mean."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from boostformer.data.colours import Colours, parse_colour
from boostformer.data.config import DataConfig, SplitName
from boostformer.data.counting import summarise
from boostformer.data.faults import Fault
from boostformer.data.formats import find_layout
from boostformer.data.formats.format import Layout
from boostformer.data.images import Array, file_errors
from boostformer.data.mask_scan import MaskScan, scan_masks
from boostformer.data.mask_values import Meaning, check_learnable, read_meaning
from boostformer.data.samples import MaskFile, Sample
from boostformer.data.split import SegmentationSplit
from boostformer.data.summary import DataSummary
from boostformer.errors import UserError
from boostformer.files import is_folder
from boostformer.shown import number_of


class FolderData:
    """A data set in a folder, recognised or as told, with all its parts.

    Opening lists the samples and, with ``cache`` once, reads all masks of the training and validation parts: what their
    values mean is decided from what occurs. UserError names the file, folder or setting that is wrong.
    """

    def __init__(self, config: DataConfig, cache: Path | None = None) -> None:
        assert config.root is not None, "data in a folder have one"
        self.config, self._cache, self.root = config, cache, config.root
        with file_errors(self.root):
            if not is_folder(self.root):
                raise UserError(f"{self.root}: no such data folder")
            self.layout = _with_share(_coloured(find_layout(config), config), config)

    @cached_property
    def scans(self) -> Mapping[SplitName, MaskScan]:
        """Values that occur in the masks of each part that is trained or validated on."""
        names: tuple[SplitName, ...] = ("training", "validation")
        parts = {split: self.layout.splits[split] for split in names if self.layout.splits.get(split)}
        return {split: self.scan(split) for split in parts}

    def scan(self, split: SplitName) -> MaskScan:
        """Read what occurs in the masks of a part."""
        with file_errors(self.root):
            return scan_masks(self.samples(split), self._cache)

    @cached_property
    def meaning(self) -> Meaning:
        """Meaning of the mask values."""
        everything, *others = self.scans.values()
        for other in others:
            everything = everything.and_also(other)
        return read_meaning(self.config, self.layout, everything)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Lines for the person: what was taken to be so without being told."""
        return (*self.layout.remarks, *self.meaning.remarks)

    @cached_property
    def summary(self) -> DataSummary:
        """The parts that are trained or validated on, in numbers."""
        images = {split: len(scan.samples) for split, scan in self.scans.items()}
        return summarise(self.layout.found, images, self.scans, self.meaning)

    def samples(self, split: SplitName) -> Sequence[Sample]:
        """List the samples of a part; UserError when there are none."""
        if found := self.layout.splits.get(split):
            return found
        share = "; `validation_share: 0.2` takes a fifth of the training part" if split == "validation" else ""
        has = ", ".join(name for name, some in self.layout.splits.items() if some)
        raise UserError(f"{self.root}: has no {split} part (found: {has or 'nothing'}){share}")

    def split(self, split: SplitName) -> SegmentationSplit:
        """Open a part; UserError when nothing can be learnt from the training part, or nothing scored on this one."""
        samples = self.samples(split)
        folder = samples[0].source.parent
        if "training" in self.scans:
            check_learnable(self.meaning, self.scans["training"], self.samples("training")[0].source.parent)
        scan = self.scans.get(split) or self.scan(split)
        if split != "training" and not self.meaning.is_class[scan.occurring].any():
            raise UserError(f"{folder}: every pixel is ignored, so there is nothing to score")
        found = FolderSplit(samples, self.meaning, self.config, self.remarks)
        found.summary = self.summary
        return found


class FolderSplit(SegmentationSplit):
    """One part of a data set in a folder.

    A damaged file, a mask of another size than its image or a value outside the classes is found when it is read; each
    raises UserError naming the file.
    """

    def __init__(
        self, samples: Sequence[Sample], meaning: Meaning, config: DataConfig, remarks: tuple[str, ...]
    ) -> None:
        self.see_as(config)
        self.labels, self.remarks = meaning.labels, remarks
        self._samples, self._meaning = samples, meaning

    def __len__(self) -> int:
        return len(self._samples)

    def name(self, index: int) -> str:
        return self._samples[index].name

    def image(self, index: int) -> Array:
        return self._samples[index].image(self.reading)

    def label(self, index: int) -> Array:
        sample = self._samples[index]
        return self._meaning.label(sample.mask(), sample.source)

    def pair(self, index: int) -> tuple[Array, Array]:
        image, label = super().pair(index)
        if image.shape[:2] != label.shape:
            raise UserError(str(differing_sizes(self._samples[index], image.shape, label.shape)))
        return image, label

    def digest(self, index: int) -> bytes:
        return self._samples[index].digest()

    def fingerprint(self) -> Iterable[str]:
        yield f"classes of mask values {self._meaning.table()}"
        yield str(self.reading)
        for sample in self._samples:
            yield from sample.stamps()


def differing_sizes(sample: Sample, image: tuple[int, ...], mask: tuple[int, ...]) -> Fault:
    """Word that the shapes (h, w, …) of an image and its mask differ."""
    sizes = [f"{shape[1]}x{shape[0]}" for shape in (image, mask)]
    said = f"the mask is {sizes[1]}, but its image {sample.files()[0]} is {sizes[0]}"
    return Fault(str(sample.source), said, "label the image as it is, or resize one of them")


def _coloured(layout: Layout, config: DataConfig) -> Layout:
    """Give the layout's masks as painted in the person's colours, if they named any."""
    if config.colours is None:
        return layout
    codes = [*config.colours, *map(str, config.ignore or ())]
    colours = Colours(tuple(map(parse_colour, codes)))
    splits = {split: [_painted(sample, colours) for sample in samples] for split, samples in layout.splits.items()}
    ignored = frozenset(range(len(config.colours), len(codes)))
    names = dict(enumerate(config.colours.values()))
    return replace(layout, splits=splits, names=names, ignored=ignored, source=layout.root)


def _painted(sample: Sample, colours: Colours) -> Sample:
    if not isinstance(sample, MaskFile):
        raise UserError(f"{sample.source}: is no mask painted in colours, so `colours` means nothing here")
    return replace(sample, colours=colours)


def _with_share(layout: Layout, config: DataConfig) -> Layout:
    """Take the share of the training part to validate on that the person asked for: the same names every time."""
    share = config.validation_share
    if share is None:
        return layout
    if layout.splits.get("validation"):
        count = len(layout.splits["validation"])
        raise UserError(
            f"{layout.root}: has a validation part of {number_of(count, 'image')}, so `validation_share` means nothing"
        )
    samples = layout.splits.get("training", ())
    count = round(share * len(samples))
    if not 1 <= count < len(samples):
        raise UserError(f"{layout.root}: {share:.0%} of {len(samples)} images leaves nothing for one of both parts")
    chosen = sorted(samples, key=lambda sample: hashlib.sha256(sample.name.encode()).digest())[:count]
    names = {sample.name for sample in chosen}
    parts: dict[SplitName, Sequence[Sample]] = {
        "training": [sample for sample in samples if sample.name not in names],
        "validation": [sample for sample in samples if sample.name in names],
    }
    said = (
        f"{layout.root}: {count} of {len(samples)} images are taken to validate on, by their names; neighbours in a "
        "video fall on both sides, so scores look better than they are"
    )
    return replace(layout, splits={**layout.splits, **parts}, remarks=(*layout.remarks, said))
