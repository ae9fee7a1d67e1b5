"""``--data`` on the command line: a folder in ADE20K's layout, ``scenes``, or a run file's ``data`` section."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostformer.errors import UserError
from boostformer.sizes import parse_size

if TYPE_CHECKING:
    from boostformer.data.config import DataConfig

HELP = "A folder in ADE20K's layout, `scenes` for generated ones, or a run file."


def size_of(text: str | None) -> tuple[int, int] | None:
    """Read ``--size 512x512`` as (H, W)."""
    try:
        return parse_size(text) if text is not None else None
    except ValueError as error:
        raise UserError(f"--size: {error}") from None


def data_of(text: str | None, size: str | None, default: DataConfig | None, fallback: tuple[int, int]) -> DataConfig:
    """Give the data that ``text`` names, at ``--size`` if given; without ``text``, ``default``.

    Where neither says at what size networks see the images, it is ``fallback``, the architecture's own.
    """
    from boostformer.data.config import DataConfig

    wanted = size_of(size)
    if text is None:
        if default is None:
            raise UserError(f"--data is missing: {HELP}")
        return default.model_copy(update={"size": wanted}) if wanted else default
    if Path(text).suffix in (".yaml", ".yml"):
        from search.config.run_file import read_run_file

        found = read_run_file(Path(text)).config.data
        return found.model_copy(update={"size": wanted}) if wanted else found
    # A network that was scored on whole images still is, on other data.
    settings: dict[str, Any] = {"size": wanted or fallback, "fit": default.fit if default else "exact"}
    if default and default.kind == "ade20k" and text != "scenes":  # and mask values mean what they meant
        settings |= {key: getattr(default, key) for key in ("classes", "ignore", "background")}
    if text == "scenes":
        return DataConfig(kind="scenes", **settings)
    if not Path(text).is_dir():
        raise UserError(f"--data: '{text}' is not a folder; allowed: {HELP}")
    return DataConfig(kind="ade20k", root=Path(text).resolve(), **settings)


def data_in(provenance: dict[str, Any]) -> DataConfig | None:
    """Give the data a checkpoint was trained on, if it says so."""
    from boostformer.data.config import DataConfig

    if "data" not in provenance:
        return None
    try:
        return DataConfig(**provenance["data"])
    except (TypeError, ValueError) as error:
        raise UserError(f"the checkpoint's provenance names no data that can be read: {error}") from None
