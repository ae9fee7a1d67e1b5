"""``--data`` on the command line: a folder of a known layout, ``scenes``, or a run file's ``data`` section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from boostformer.errors import UserError
from boostformer.files import expanded, is_folder, located
from boostformer.sizes import parse_size

if TYPE_CHECKING:
    from boostformer.data.config import DataConfig

HELP = "A folder of a known layout, `scenes` for generated ones, or a run file."
ClassesOption = Annotated[
    str | None, typer.Option(help="Names of the mask values that count, in order: a,b,c; or by value: 0=a,255=b.")
]
IgnoreOption = Annotated[str | None, typer.Option(help="Mask values that are no class; by default 0,255.")]
BackgroundOption = Annotated[str | None, typer.Option(help="Name of mask value 0, where it is a class.")]
ColoursOption = Annotated[str | None, typer.Option(help="Names of painted masks: '#804080=road,#000000=sky'.")]

MEANING = ("classes", "ignore", "background", "colours")
"""Settings that say what mask values mean."""


READING = ("bands", "levels")
"""Settings that say how image files are read."""


def size_of(text: str | None) -> tuple[int, int] | None:
    """Read ``--size 512x512`` as (H, W)."""
    try:
        return parse_size(text) if text is not None else None
    except ValueError as error:
        raise UserError(f"--size: {error}") from None


def meaning_of(classes: str | None, ignore: str | None, background: str | None, colours: str | None) -> dict[str, Any]:
    """Read what the options of these names say of mask values, as run files have it."""
    said: dict[str, Any] = {}
    if background is not None:
        said["background"] = background.strip()
    if ignore is not None:
        said["ignore"] = [value.strip() for value in ignore.split(",") if value.strip()]
    if classes is not None:
        items = [item.strip() for item in classes.split(",")]
        pairs = [item.partition("=") for item in items]
        if all(equals for _, equals, _ in pairs):
            said["classes"] = {value.strip(): name.strip() for value, _, name in pairs}
        else:
            said["classes"] = items
    if colours is not None:
        painted = [item.partition("=") for item in colours.split(",")]
        said["colours"] = {colour.strip(): name.strip() for colour, _, name in painted}
    return said


def with_meaning(data: DataConfig, said: dict[str, Any]) -> DataConfig:
    """Give ``data`` with what was ``said`` of mask values instead of all that it says of them itself."""
    return _changed(data, said, MEANING) if said else data


def with_kind(data: DataConfig, kind: str | None) -> DataConfig:
    """Give ``data`` in the layout ``kind`` instead of its own, if one was named."""
    return _changed(data, {"kind": kind}) if kind is not None else data


def _changed(data: DataConfig, said: dict[str, Any], instead_of: tuple[str, ...] = ()) -> DataConfig:
    """Give ``data`` with the values of options, which replace the settings ``instead_of``."""
    from pydantic import ValidationError

    try:
        return type(data)(**(data.model_dump(exclude=set(instead_of), exclude_unset=True) | said))
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{first['loc'][0]}" if first["loc"] else ", ".join(f"--{key}" for key in said)
        reason = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        value = f"{first['input']!r} " if first["loc"] else ""
        raise UserError(f"{option}: {value}{reason}") from None


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
        if default.root is not None and not is_folder(default.root):
            raise UserError(f"{default.root}: no such data folder; --data says where they lie now")
        return _changed(default, {"size": wanted}, ("size",)) if wanted else default
    named = expanded(text)
    if named.suffix in (".yaml", ".yml"):
        from search.config.run_file import read_run_file

        found = read_run_file(named).config.data
        return _changed(found, {"size": wanted}, ("size",)) if wanted else found
    # A network that was scored on whole images still is, on other data.
    settings: dict[str, Any] = {"size": fallback}
    if default:
        settings |= {"fit": default.fit, "overlap": default.overlap}
    if default and default.root is not None and text != "scenes":  # and mask values mean what they meant
        settings |= {key: getattr(default, key) for key in (*MEANING, *READING)}
    if text == "scenes":
        found = DataConfig(kind="scenes", **settings)
    elif is_folder(named):
        found = DataConfig(root=located(named), **settings)
    else:
        raise UserError(f"--data: '{text}' is not a folder; allowed: {HELP}")
    return _changed(found, {"size": wanted}, ("size",)) if wanted else found


def data_in(provenance: dict[str, Any]) -> DataConfig | None:
    """Return the data a checkpoint was trained on; None where it does not say."""
    from boostformer.data.config import DataConfig

    if "data" not in provenance:
        return None
    try:
        return DataConfig(**provenance["data"])
    except (TypeError, ValueError) as error:
        raise UserError(f"the checkpoint's provenance names no data that can be read: {error}") from None
