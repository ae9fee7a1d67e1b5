"""Meaning of mask values: the classes, their names and the ignored values, checked against what occurs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from boostformer.data.config import MOST_VALUES, DataConfig
from boostformer.data.faults import Fault, refuse
from boostformer.data.formats.format import Layout
from boostformer.data.images import Array
from boostformer.data.labels import ignored_label, label_dtype
from boostformer.data.mask_scan import MaskScan
from boostformer.errors import UserError, nearest
from boostformer.names import numbered

MOST_CLASSES = MOST_VALUES - 2  # two labels stand for "ignored" and "no class"
USUALLY_IGNORED = frozenset({0, 255})
_MOST_LISTED = 5
_NO_OBJECT = ("background", "bg", "unlabelled", "unlabeled", "void", "none", "ignore", "ignored", "other", "unknown")


@dataclass(frozen=True)
class Meaning:
    """Class names in order, the label of each mask value, and what a person should know about them.

    ``classes`` (65536) has for each value its class number, ``ignored_label`` or, one below it, "no class".
    """

    labels: list[str]
    classes: NDArray[np.uint8 | np.uint16]
    remarks: list[str] = field(default_factory=list)

    @property
    def ignored(self) -> int:
        """The label of pixels that do not count."""
        return ignored_label(len(self.labels))

    def label(self, mask: NDArray[np.integer], source: object) -> Array:
        """Turn a mask into class numbers and ``ignored``; UserError names the ``source`` of a value without a class."""
        label = self.classes[mask] if mask.itemsize <= 2 else self.classes[np.minimum(mask, MOST_VALUES - 1)]
        if (lost := label == self.ignored - 1).any():
            raise UserError(f"{source}: {self.refusal(int(mask[lost].max()))}")
        return label

    def refusal(self, value: int) -> str:
        """Word that a value has no meaning, and which have."""
        named, ignored = (np.flatnonzero(found) for found in (self.is_class, self.classes == self.ignored))
        return (
            f"label {value} is outside the {len(self.labels)} classes (allowed: {ranges(named)}; "
            f"ignored: {ranges(ignored) or 'none'})"
        )

    @property
    def is_class(self) -> NDArray[np.bool_]:
        """Mark the mask values that are classes."""
        return self.classes < self.ignored - 1

    def table(self) -> dict[int, int]:
        """Map the mask values that have a meaning to labels."""
        return {int(value): int(self.classes[value]) for value in np.flatnonzero(self.classes != self.ignored - 1)}


def ranges(values: Sequence[int] | NDArray[np.integer]) -> str:
    """Word sorted numbers, runs of them short: ``1…3, 7``."""
    runs: list[list[int]] = []
    for value in map(int, values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}…{run[-1]}" for run in runs)


def _they_are(values: Sequence[int]) -> str:
    """Begin a sentence about sorted mask values: ``mask values 1…3 are``."""
    return f"mask value {values[0]} is" if len(values) == 1 else f"mask values {ranges(values)} are"


def read_meaning(config: DataConfig, layout: Layout, scan: MaskScan) -> Meaning:
    """Decide what the values mean: from what was told, else from the layout, else from what occurs.

    Args:
        config: what the person said: ``classes``, ``ignore``, ``background``.
        layout: the names of the data set itself, and the values that it ignores.
        scan: what occurs in the masks of the training and validation parts.

    Raises:
        UserError: a value has no class, the names are certainly one off, or there are too many classes.
    """
    config, layout, remarks = _with_usual(config, layout, scan)
    own = layout.names if isinstance(layout.names, Mapping) else None
    ignored = _ignored(config, layout)
    usual = config.ignore is None and layout.ignored is None and not isinstance(config.classes, dict)
    if usual and config.colours is None and scan.total[255] and scan.occurring[-1] > 255:
        raise UserError(
            f"{layout.root}: mask value 255 occurs, and higher ones up to {scan.occurring[-1]}: say `ignore: [0]` in "
            "the run file's data, or `--ignore 0`, if it is a class, and `ignore: [0, 255]` if it is none"
        )
    source = layout.root if config.classes is not None else layout.source
    if isinstance(config.classes, dict):
        table = {_value(key, "classes", layout): name for key, name in config.classes.items()}
        table, ignored = dict(sorted(table.items())), ignored - set(table)
        remarks += [*_merged(source, table), *_never(source, table, scan.occurring)]
    elif config.classes is None and own is not None:
        table = {value: name for value, name in sorted(own.items()) if value not in ignored}
        if config.background is not None:
            table = dict(sorted((table | {0: config.background}).items()))
        remarks += [*_merged(source, table), *_never(source, table, scan.occurring)]
    else:
        given = config.classes if config.classes is not None else layout.names
        table, more = _in_order(config, given, source, ignored, scan)  # type: ignore[arg-type]
        remarks += more
    remarks += _said_of_ignored(config, layout, ignored, table)
    labels = list(dict.fromkeys(table.values()))
    if not 1 <= len(labels) <= MOST_CLASSES:
        raise UserError(f"{source}: has {len(labels)} classes, but 1…{MOST_CLASSES} are possible")
    ignored_as = ignored_label(len(labels))
    classes = np.full(MOST_VALUES, ignored_as - 1, label_dtype(len(labels)))
    classes[sorted(ignored)] = ignored_as
    classes[list(table)] = [labels.index(name) for name in table.values()]
    meaning = Meaning(labels, classes, remarks)
    refuse(without_class(meaning, scan))
    if not _is_told(config, layout) and scan.total[0]:
        share = scan.total[0] / scan.total.sum()
        remarks.append(
            f"{source}: mask value 0 is ignored, {share:.1%} of the pixels; `background: NAME` makes it a class"
        )
    return meaning


def without_class(meaning: Meaning, scan: MaskScan) -> list[Fault]:
    """List the masks with values that have no meaning, the highest values first."""
    lost = np.flatnonzero(meaning.classes[scan.values] == meaning.ignored - 1)
    order = lost[np.lexsort((scan.masks[lost], -scan.values[lost]))]
    highest: dict[int, int] = {}
    for mask, value in zip(scan.masks[order].tolist(), scan.values[order].tolist(), strict=True):
        highest.setdefault(mask, value)
    said = {value: f"{meaning.refusal(value)}, but {scan.describe(value)}" for value in set(highest.values())}
    remedy = "mend the masks, or put the value in `classes` or `ignore` in the run file's data"
    return [Fault(str(scan.samples[mask].source), said[value], remedy) for mask, value in highest.items()]


def _with_usual(config: DataConfig, layout: Layout, scan: MaskScan) -> tuple[DataConfig, Layout, list[str]]:
    """Take a layout's usual names if they fit, else number the classes; a usual background is one in any case."""
    usual = layout.usual
    if usual is None or layout.names is not None:
        return config, layout, []
    named = replace(layout, names=usual)
    ignored = _ignored(config, named)
    strange = [value for value in scan.occurring if value not in usual and value not in ignored]
    if not strange:
        said = f"{layout.source}: the usual {len(usual)} names are taken, since every mask value has one"
        return config, named, [said] if config.classes is None else []
    said = f"{layout.source}: the usual names do not fit: {scan.describe(strange[-1])}; classes are numbered"
    told = config.classes is not None or config.background is not None
    if 0 in usual and 0 not in ignored and not told:
        config = config.model_copy(update={"background": usual[0]})
    return config, layout, [said] if config.classes is None else []


def _ignored(config: DataConfig, layout: Layout) -> frozenset[int]:
    if config.colours is not None:  # colours say themselves what is ignored, see FolderData
        return layout.ignored or frozenset()
    ignored = frozenset(_value(key, "ignore", layout) for key in config.ignore or ())
    if _names_add(config):
        ignored |= USUALLY_IGNORED if layout.ignored is None else layout.ignored
    return (ignored - {0} if config.background is not None else ignored) | layout.never


def _names_add(config: DataConfig) -> bool:
    """Tell whether the layout's own ignored values stay so: names are ignored beside them, numbers instead of them."""
    return config.ignore is None or (bool(config.ignore) and all(isinstance(key, str) for key in config.ignore))


def _said_of_ignored(
    config: DataConfig, layout: Layout, ignored: frozenset[int], table: Mapping[int, str]
) -> list[str]:
    """Say what became of the values that the layout ignores, if the person named others."""
    if config.ignore is None or layout.ignored is None or config.colours is not None:
        return []
    if _names_add(config):
        more = sorted(ignored - layout.ignored - layout.never)
        return [f"{layout.root}: {_they_are(more)} ignored, beside those of the layout"] if more else []
    lost = sorted(layout.ignored & set(table))
    said = "no longer ignored as the layout says, since `ignore` has numbers; names alone add to the layout's"
    return [f"{layout.root}: {_they_are(lost)} {said}"] if lost and not isinstance(config.classes, dict) else []


def _value(key: int | str, setting: str, layout: Layout) -> int:
    """Give the mask value that a person's ``key`` means: itself, or that of the data set's own name."""
    if isinstance(key, int):
        return key
    names = layout.names if isinstance(layout.names, Mapping) else {}
    found = [value for value, name in names.items() if name == key]
    if not found:
        own = nearest(key, names.values()) if names else "this data set has no names of values itself"
        raise UserError(f"{layout.root}: `{setting}` has '{key}', which is neither a mask value nor a name; {own}")
    return found[0]


def _in_order(
    config: DataConfig, given: Sequence[str] | None, source: object, ignored: frozenset[int], scan: MaskScan
) -> tuple[dict[int, str], list[str]]:
    """Name the values that are not ignored in their order; without names by number."""
    usable = [value for value in range(MOST_VALUES) if value not in ignored]
    if given is None:
        used = [value for value in scan.occurring if value not in ignored]
        names, remarks = _numbered(source, usable, used, scan, config.background)
        return dict(zip(usable, names, strict=False)), remarks
    if config.background is not None and (not given or given[0].casefold() != config.background.casefold()):
        given = [config.background, *given]
    table = dict(zip(usable, given, strict=False))
    told = config.ignore is not None or config.background is not None
    return table, _held_against(source, table, scan.occurring, told) if table else []


def check_learnable(meaning: Meaning, training: MaskScan, folder: object) -> None:
    """Raise UserError when fewer than two classes occur in the training masks in ``folder``."""
    occurring = training.occurring
    found = [value for value in occurring if meaning.is_class[value]]
    if len({meaning.classes[value] for value in found}) >= 2:
        return
    ignored = [value for value in occurring if value not in found]
    what = (
        f"only '{meaning.labels[meaning.classes[found[0]]]}' occurs"
        if found
        else "no class occurs: every pixel is ignored"
    )
    dropped = f" ({_they_are(ignored)} ignored)" if ignored else ""
    remedy = "label a second class"
    if occurring == [0, 255] and not found:
        remedy = (
            "of such binary masks say `classes: {0: background, 255: object}` in the run file's data, or "
            "`--classes 0=background,255=object`"
        )
    elif 0 in occurring and 0 not in found:
        remedy = "if 0 is a class, say `background: background` in the run file's data, or `--background background`"
    raise UserError(f"{folder}: {what}{dropped}, so there is nothing to learn; {remedy}")


def _is_told(config: DataConfig, layout: Layout) -> bool:
    """True if the person or the layout said what value 0 is."""
    return (
        config.ignore is not None
        or config.background is not None
        or config.colours is not None
        or isinstance(config.classes, dict)
        or layout.ignored is not None
    )


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


def _merged(source: object, table: dict[int, str]) -> list[str]:
    """Say which values are one class."""
    by_name: dict[str, list[int]] = {}
    for value, name in table.items():
        by_name.setdefault(name, []).append(value)
    lines = [f"'{name}' is mask values {ranges(values)}" for name, values in by_name.items() if len(values) > 1]
    return [f"{source}: {'; '.join(lines)}"] if lines else []


def _never(source: object, table: dict[int, str], occurring: list[int]) -> list[str]:
    """Say which classes never occur."""
    occur = {table[value] for value in occurring if value in table}
    lacking = [f"'{name}' ({value})" for value, name in table.items() if name not in occur]
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
