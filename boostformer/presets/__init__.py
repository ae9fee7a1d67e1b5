"""The shipped architectures: SegFormer-B0…B5 and the published BoostFormer.

A space may hold each of them, but for BoostFormer's first embed: no search tries a pooling one without a stem.
"""

from __future__ import annotations

from importlib import resources

from boostformer.architecture import Architecture
from boostformer.errors import UserError, nearest


def names() -> list[str]:
    """Names of the presets."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load(
    name: str, *, classes: int | None = None, size: tuple[int, int] | None = None, bands: int | None = None
) -> Architecture:
    """The complete preset, for other ``classes``, another ``size`` (H, W) or number of ``bands`` if given.

    Its file spells every option out. An unknown name raises :class:`UserError`.
    """
    if name not in names():
        raise UserError(f"unknown preset '{name}'; {nearest(name, names())}")
    text = (resources.files(__name__) / f"{name}.yaml").read_text()
    return Architecture.from_yaml(text, f"preset {name}").replace(classes=classes, size=size, bands=bands)
