"""Meaning of mask values: the classes, their names and the ignored values, checked against what occurs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from boostformer.data.config import DataConfig
from boostformer.data.mask_scan import VALUES, MaskScan
from boostformer.data.split import IGNORED
from boostformer.errors import UserError
from boostformer.names import numbered

MOST_CLASSES = 254  # 255 stands for "ignored"
USUALLY_IGNORED = (0, 255)
_NO_CLASS = 254  # of a value that is neither a class nor ignored
_MOST_LISTED = 5
_NO_OBJECT = ("background", "bg", "unlabelled", "unlabeled", "void", "none", "ignore", "ignored", "other", "unknown")


@dataclass(frozen=True)
class Meaning:
    """Class names in order, the class of each mask value, and what a person should know about them."""

    labels: list[str]
    classes: NDArray[np.uint8]
    remarks: list[str] = field(default_factory=list)

    def label(self, mask: NDArray[np.integer], source: object) -> NDArray[np.uint8]:
        """Turn a mask into class numbers, 255 = ignored; UserError names the ``source`` of a value without a class."""
        values = np.minimum(mask, VALUES - 1)
        label = self.classes[values]
        if (label == _NO_CLASS).any() or mask.max(initial=0) >= VALUES:
            raise UserError(self.refusal(source, int(mask[(label == _NO_CLASS) | (mask >= VALUES)].max())))
        return label

    def refusal(self, source: object, value: int) -> str:
        """Word that a value has no meaning, and which have."""
        named, ignored = np.flatnonzero(self.classes < _NO_CLASS), np.flatnonzero(self.classes == IGNORED)
        return (
            f"{source}: label {value} is outside the {len(self.labels)} classes (allowed: {ranges(named)}; "
            f"ignored: {ranges(ignored) or 'none'})"
        )


def ranges(values: Sequence[int] | NDArray[np.integer]) -> str:
    """Word sorted numbers, runs of them short: ``1…3, 7``."""
    runs: list[list[int]] = []
    for value in map(int, values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}…{run[-1]}" for run in runs)


def read_meaning(config: DataConfig, names: list[str] | None, source: object, scan: MaskScan) -> Meaning:
    """Decide what the values mean, from what was told and, where nothing was, from what occurs.

    Args:
        config: what the person said: ``classes``, ``ignore``, ``background``.
        names: the names in the data set's own file, if it has one.
        source: that file, or else the data set, to begin messages with.
        scan: what occurs in the masks of both splits.

    Raises:
        UserError: a value has no class, the names are certainly one off, or there are less than two classes.
    """
    occurring = [int(value) for value in np.flatnonzero(scan.total)]
    if isinstance(config.classes, dict):
        table = dict(sorted(config.classes.items()))
        ignored = set(config.ignore if config.ignore is not None else USUALLY_IGNORED) - set(table)
        remarks = _never(source, table, occurring)
    else:
        ignored = set(USUALLY_IGNORED if config.ignore is None else config.ignore)
        if config.background is not None:
            ignored -= {0}
        given = list(config.classes) if config.classes is not None else names
        usable = [value for value in range(VALUES) if value not in ignored]
        used = [value for value in occurring if value not in ignored]
        if given is None:
            given, remarks = _numbered(source, usable, used, scan, config.background)
            table = dict(zip(usable, given, strict=False))
        else:
            if config.background is not None and (not given or given[0].casefold() != config.background.casefold()):
                given = [config.background, *given]
            _check_count(source, len(given))
            table = dict(zip(usable, given, strict=False))
            remarks = _held_against(source, table, occurring, told=_is_told(config))
    _check_count(source, len(table))
    classes = np.full(VALUES, _NO_CLASS, np.uint8)
    classes[sorted(ignored)] = IGNORED
    classes[list(table)] = np.arange(len(table))
    meaning = Meaning(list(table.values()), classes, remarks)
    for value in reversed(occurring):
        if classes[value] == _NO_CLASS:
            raise UserError(f"{meaning.refusal(scan.first_with(value), value)}; it occurs: {scan.describe(value)}")
    if not _is_told(config) and scan.total[0]:
        share = scan.total[0] / scan.total.sum()
        remarks.append(
            f"{source}: mask value 0 is ignored, {share:.1%} of the pixels; `background: NAME` makes it a class"
        )
    return meaning


def check_learnable(meaning: Meaning, training: MaskScan, folder: object) -> None:
    """Raise UserError when fewer than two classes occur in the training masks in ``folder``."""
    occurring = [int(value) for value in np.flatnonzero(training.total)]
    found = [value for value in occurring if meaning.classes[value] < _NO_CLASS]
    if len({meaning.classes[value] for value in found}) >= 2:
        return
    ignored = ranges([value for value in occurring if value not in found])
    what = (
        f"only '{meaning.labels[meaning.classes[found[0]]]}' occurs"
        if found
        else "no class occurs: every pixel is ignored"
    )
    dropped = f" (mask values {ignored} are ignored)" if ignored else ""
    remedy = "label a second class"
    if occurring == [0, 255] and not found:
        remedy = (
            "of such binary masks say `classes: {0: background, 255: object}` in the run file's data, or "
            "`--classes 0=background,255=object`"
        )
    elif 0 in occurring and 0 not in found:
        remedy = "if 0 is a class, say `background: background` in the run file's data, or `--background background`"
    raise UserError(f"{folder}: {what}{dropped}, so there is nothing to learn; {remedy}")


def _is_told(config: DataConfig) -> bool:
    """True if the person said what value 0 is."""
    return config.ignore is not None or config.background is not None or isinstance(config.classes, dict)


def _check_count(source: object, count: int) -> None:
    if not 1 <= count <= MOST_CLASSES:
        raise UserError(f"{source}: has {count} classes, but 1…{MOST_CLASSES} are possible")


def _numbered(
    source: object, usable: list[int], used: list[int], scan: MaskScan, background: str | None
) -> tuple[list[str], list[str]]:
    """Name the classes that nobody named by number, up to the highest that occurs; refuse what counts no classes."""
    if not used:
        return [background or "class_1"], []  # what can be learnt from them is checked later
    span = [value for value in usable if value <= used[-1]]
    missing = [value for value in span if value not in used]
    remarks = []
    if len(missing) > len(used):
        some = "; ".join(scan.describe(value) for value in used[-_MOST_LISTED:])
        raise UserError(
            f"{source}: mask values {ranges(used)} do not count {len(span)} classes ({some}); mend stray pixels, or "
            f"name the classes: `classes: {{{used[0]}: NAME, …}}` in the run file's data"
        )
    if missing:
        remarks.append(
            f"{source}: mask values {ranges(missing)} never occur, yet are counted among {len(span)} classes"
        )
    names = numbered(len(span))
    if background is not None:
        names = [background, *names[:-1]]
    return names, remarks


def _never(source: object, table: dict[int, str], occurring: list[int]) -> list[str]:
    """Say which classes never occur."""
    lacking = [f"'{name}' ({value})" for value, name in table.items() if value not in occurring]
    if not lacking:
        return []
    more = f" and {len(lacking) - _MOST_LISTED} more" if len(lacking) > _MOST_LISTED else ""
    return [f"{source}: no mask has {', '.join(lacking[:_MOST_LISTED])}{more}"]


def _held_against(source: object, table: dict[int, str], occurring: list[int], told: bool) -> list[str]:
    """Hold names in order against the values that occur; refuse names that are one off, say what may be wrong."""
    (first, name), last = next(iter(table.items())), list(table)[-1]
    lines = _never(source, table, occurring)
    if told or 0 not in occurring:
        return lines
    if name.strip("_").casefold() in _NO_OBJECT:
        if last not in occurring:
            raise UserError(
                f"{source}: the first of {len(table)} names is '{name}', but masks use 0 and never {last}, so with 0 "
                f"ignored every name would be one off; say `background: {name}` in the run file's data if it is a "
                f"class, or take the name out of the list, or confirm with `ignore: [0, 255]`"
            )
        lines.append(f"{source}: '{name}' is mask value {first}, since 0 is ignored")
    elif last not in occurring:
        lines[-1] += "; if masks count from 0, say `ignore: [255]`"
    return lines
