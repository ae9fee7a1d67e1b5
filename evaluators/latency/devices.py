"""`devices.yaml`: the devices whose latency can be had, one typed entry for each, and finding them by name."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from pydantic import ValidationError

from boostformer.errors import UserError, nearest
from boostformer.files import cache_folder, exists, read_text
from boostformer.yaml_lines import Place, compose
from boostformer.yaml_models import invalid
from evaluators.latency.device import DeviceConfig, MeterConfig
from evaluators.latency.estimate.device import EstimateDevice
from evaluators.latency.gpu import CudaDevice
from evaluators.latency.host import HostDevice
from evaluators.latency.jetson.device import JetsonDevice
from evaluators.latency.table.device import TableDevice

if TYPE_CHECKING:
    from evaluators.latency.backend import Backend

KINDS: dict[str, type[DeviceConfig]] = {
    "host": HostDevice,
    "cuda": CudaDevice,
    "jetson": JetsonDevice,
    "table": TableDevice,
    "estimate": EstimateDevice,
}
SHIPPED = Path(__file__).parent / "devices.yaml"
VARIABLE, DEFAULT = "BOOSTFORMER_DEVICES", "devices.yaml"
_NAME = r"[A-Za-z0-9][\w.-]*"
D = TypeVar("D", bound=DeviceConfig)
D_co = TypeVar("D_co", bound=DeviceConfig, covariant=True)


@dataclass(frozen=True)
class Entry(Generic[D_co]):
    """A device as a file describes it.

    Attributes:
        name: the device's.
        device: its settings.
        folder: where the settings' own relative paths start.
        where: the file and line.
    """

    name: str
    device: D_co
    folder: Path
    where: str

    @property
    def shipped(self) -> bool:
        """Tell whether it comes with this program."""
        return self.where.startswith(f"{SHIPPED}:")

    def open(self) -> Backend:
        """Make what tells how long networks take; raises as :meth:`DeviceConfig.open` does."""
        return self.device.open(self.name, self.folder)

    def measuring(self) -> Entry[DeviceConfig] | None:
        """Find the device that can be measured for this entry: its own, the one that a table is about, or none."""
        if self.device.measured:
            return self
        return None if self.device.about is None else find(self.device.about, MeterConfig)


def read_devices(file: Path | None = None) -> dict[str, Entry[DeviceConfig]]:
    """Read the shipped devices and those of ``file``.

    By default that is what $BOOSTFORMER_DEVICES names, or ``devices.yaml`` here if it is there; of a run file, the one
    that stands beside it (:func:`use_beside`).
    Raises :class:`UserError` with file, line and key for whatever is wrong with an entry.
    """
    named = os.environ.get(VARIABLE)
    if file is None:
        file = Path(named or DEFAULT)
    own = _read(file, file.absolute().parent) if named or exists(file) else {}
    shipped = _read(SHIPPED, cache_folder() / "latency")
    for name in shipped.keys() & own.keys():
        if own[name].device.kind != shipped[name].device.kind:  # its figures would pass for the other's
            raise UserError(
                f"{own[name].where}: {name}: is of kind {own[name].device.kind}, but '{name}' is a device of kind "
                f"{shipped[name].device.kind} that comes with this program; give yours another name"
            )
    return shipped | own


def use_beside(run_file: Path) -> None:
    """Read the user's devices from ``devices.yaml`` beside a run file from here on, if it is there.

    Processes that are started from here read them there, too. What $BOOSTFORMER_DEVICES names already, counts.
    :class:`UserError` when the run file cannot be reached.
    """
    file = run_file.absolute().parent / DEFAULT
    if not os.environ.get(VARIABLE) and exists(run_file) and exists(file):
        os.environ[VARIABLE] = str(file)


@overload
def find(name: str) -> Entry[DeviceConfig]: ...


@overload
def find(name: str, base: type[D]) -> Entry[D]: ...


def find(name: str, base: type[DeviceConfig] = DeviceConfig) -> Entry[Any]:
    """Find the device ``name``, which must be of a kind that derives from ``base``; else :class:`UserError`."""
    entries = read_devices()
    allowed = {key: entry for key, entry in entries.items() if isinstance(entry.device, base)}
    kinds = [kind for kind, config in KINDS.items() if issubclass(config, base)]
    choice = nearest(name, allowed) if allowed else f"none is of kind {' or '.join(kinds)}"
    if name not in entries:
        raise UserError(f"unknown device '{name}'; {choice}; yours are read from {os.environ.get(VARIABLE) or DEFAULT}")
    if name not in allowed:
        raise UserError(f"'{name}' is a device of kind {entries[name].device.kind}; {choice}")
    return allowed[name]


def _read(file: Path, folder: Path) -> dict[str, Entry[DeviceConfig]]:
    top = compose(read_text(file), str(file), needs="a devices' file must have an entry for each device")
    return {name: _entry(name, place, folder) for name, place in top.entries("names to devices").items()}


def _entry(name: str, place: Place, folder: Path) -> Entry[DeviceConfig]:
    if not re.fullmatch(_NAME, name):
        raise place.error("a device's name is made of letters, digits, '_', '.' and '-', a letter or digit first")
    values = {key: inner.plain() for key, inner in place.entries("keys to values").items()}
    if "kind" not in values:
        raise place.error(f"has no kind; {nearest('', KINDS)}")
    if str(values["kind"]) not in KINDS:
        raise place.at("kind").error(f"unknown kind '{values['kind']}'; {nearest(values['kind'], KINDS)}")
    config = KINDS[values["kind"]]
    try:
        device = config.model_validate(values)
    except ValidationError as error:
        raise invalid(place, error, config) from None
    return Entry(name, device, folder, place.where)
