"""Layouts of data sets, one file each, and the choice among them."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path

from boostformer.data.config import AUTO, FORMATS, PATTERNS, DataConfig
from boostformer.data.formats.format import Format, Layout
from boostformer.data.formats.patterns import Patterns
from boostformer.errors import UserError


@cache
def formats() -> dict[str, Format]:
    """Give one reader of each kind of layout, in the order of :data:`FORMATS`; a kind's file has its name."""
    found = {}
    for kind in FORMATS:
        module = import_module(f"{__name__}.{kind}")
        classes = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
        found[kind] = next(one for one in classes if issubclass(one, Format) and one.kind == kind)()
    return found


def find_layout(config: DataConfig) -> Layout:
    """List what is in the folder of ``config``, in the layout that it names or that is recognised.

    UserError when none is recognised, or several are, and says which are known.
    """
    root = config.root
    assert root is not None, "data in a folder have one"
    if config.kind == AUTO:
        return recognised(root).read(root, config)
    return (Patterns() if config.kind == PATTERNS else formats()[config.kind]).read(root, config)


def recognised(root: Path) -> Format:
    """Find the one format whose layout a folder has."""
    found = [one for one in formats().values() if one.recognises(root)]
    if len(found) == 1:
        return found[0]
    if found:
        kinds = " or ".join(f"`kind: {one.kind}`" for one in found)
        raise UserError(f"{root}: may be read in several ways; say in the run file's data {kinds}")
    inside = ", ".join(sorted(path.name + "/" * path.is_dir() for path in root.iterdir())[:8]) or "nothing"
    known = "; ".join(f"{one.kind}: {one.looks}" for one in formats().values())
    raise UserError(
        f"{root}: no layout is recognised (it holds {inside}); known are {known}; anything else by patterns, "
        '`images: "raw/{split}/*.jpg"` and `masks: "{stem}_mask.png"` in the run file\'s data'
    )
