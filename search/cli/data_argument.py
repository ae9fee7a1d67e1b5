"""``--data`` on the command line: a folder in ADE20K's layout, ``scenes``, or a run file's ``data`` section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from boostformer.errors import UserError
from boostformer.files import expanded
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
    """Choose a command's data.

    Args:
        text: ``--data``; without it the data are ``default``.
        size: ``--size`` as HxW, if given; replaces that of the data.
        default: what to use without ``text``; None where ``--data`` is required.
        fallback: (H, W) of data without a size of their own: that of the architecture.

    Raises:
        UserError: ``text`` names no data, or is missing.
    """
    from boostformer.data.config import DataConfig

    wanted = size_of(size)
    if text is None:
        if default is None:
            raise UserError(f"--data is missing: {HELP}")
        return default.model_copy(update={"size": wanted}) if wanted else default
    named = expanded(text)
    if named.suffix in (".yaml", ".yml"):
        from search.config.run_file import read_run_file

        found = read_run_file(named).config.data
        return found.model_copy(update={"size": wanted}) if wanted else found
    # A network that was scored on whole images still is, on other data.
    settings: dict[str, Any] = {"size": wanted or fallback, "fit": default.fit if default else "exact"}
    if text == "scenes":
        return DataConfig(kind="scenes", **settings)
    if not named.is_dir():
        raise UserError(f"--data: '{text}' is not a folder; allowed: {HELP}")
    return DataConfig(kind="ade20k", root=named.resolve(), **settings)


def data_in(provenance: dict[str, Any]) -> DataConfig | None:
    """Return the data a checkpoint was trained on; None where it does not say."""
    from boostformer.data.config import DataConfig

    if "data" not in provenance:
        return None
    try:
        return DataConfig(**provenance["data"])
    except (TypeError, ValueError) as error:
        raise UserError(f"the checkpoint's provenance names no data that can be read: {error}") from None
