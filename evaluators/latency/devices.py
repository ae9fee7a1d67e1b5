"""`devices.yaml`: the devices whose latency can be had, one typed entry for each, and finding them by name."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from boostformer.errors import UserError, nearest
from boostformer.files import cache_folder, read_text
from boostformer.yaml_lines import Place, compose
from boostformer.yaml_models import invalid

SHIPPED = Path(__file__).parent / "devices.yaml"
VARIABLE, DEFAULT = "BOOSTFORMER_DEVICES", "devices.yaml"
_NAME = r"[A-Za-z0-9][\w.-]*"
Precision = Literal["fp16", "fp32"]


class _Device(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HostDevice(_Device):
    """ONNX Runtime on the processor of this machine."""

    kind: Literal["host"]
    threads: int = Field(default=1, ge=1)
    seconds: float = Field(default=1.0, gt=0)
    """How long a graph is run at least."""


class CudaDevice(_Device):
    """torch with CUDA graphs on the accelerator of this machine."""

    kind: Literal["cuda"]
    precision: Precision = "fp16"


class JetsonDevice(_Device):
    """A board over SSH with TensorRT's trtexec. There is no place for a password: use a key or an agent."""

    kind: Literal["jetson"]
    address: str = Field(pattern=r"^[^\s\x00-\x1f-][^\s\x00-\x1f]*$")
    user: str | None = None
    port: int = Field(default=22, ge=1, le=65535)
    key: Path | None = None
    """A private key's file; without it the agent and the usual files are tried."""
    known_hosts: Path | None = None
    """Where `latency trust` keeps the board's key; by default `known_hosts` beside the devices' file."""
    trtexec: str = "/usr/src/tensorrt/bin/trtexec"
    folder: str = "boostformer-latency"
    """On the board, relative to the home folder: uploads, the lock, the timing cache."""
    precision: Precision = "fp16"
    power_mode: str | None = None
    """Its name as `nvpmodel -q` prints it; another mode is refused. Without it, any is recorded."""
    duration: float = Field(default=5.0, gt=0)
    """Seconds that an engine is run."""
    workspace: int = Field(default=1024, ge=1)
    """MiB that a build may use."""
    build_seconds: int = Field(default=1800, ge=1)
    wait_seconds: int = Field(default=3600, ge=1)
    """How long to wait for others who use the board."""
    attempts: int = Field(default=3, ge=1)
    """How often an unsteady or throttled run is repeated before it fails."""


class TableDevice(_Device):
    """Predictions from the measured parts of networks, and some whole ones, of another device."""

    kind: Literal["table"]
    of: str
    """The device that is measured."""
    file: Path
    """JSON lines; relative to the devices' file."""


class EstimateDevice(_Device):
    """An estimate from a board's datasheet: for a board that nobody at hand owns."""

    kind: Literal["estimate"]
    board: str
    power_mode: str | None = None
    precision: Precision = "fp16"


Device = HostDevice | CudaDevice | JetsonDevice | TableDevice | EstimateDevice
KINDS: dict[str, type[Device]] = {
    "host": HostDevice,
    "cuda": CudaDevice,
    "jetson": JetsonDevice,
    "table": TableDevice,
    "estimate": EstimateDevice,
}


@dataclass(frozen=True)
class Entry:
    """A device as a file describes it. Its own paths start at ``folder``; ``where`` is the file and line."""

    name: str
    device: Device
    folder: Path
    where: str

    @property
    def shipped(self) -> bool:
        """Whether it comes with this program."""
        return self.where.startswith(f"{SHIPPED}:")


def read_devices(file: Path | None = None) -> dict[str, Entry]:
    """The shipped devices and those of ``file``: what $BOOSTFORMER_DEVICES names, or ``devices.yaml`` here if there.

    Raises :class:`UserError` with file, line and key for whatever is wrong with an entry.
    """
    named = os.environ.get(VARIABLE)
    if file is None:
        file = Path(named or DEFAULT)
    own = _read(file, file.absolute().parent) if named or file.exists() else {}
    return _read(SHIPPED, cache_folder() / "latency") | own


def find(name: str, *kinds: str) -> Entry:
    """The device ``name``, which must be of one of ``kinds`` if any are given."""
    entries = read_devices()
    allowed = {key: entry for key, entry in entries.items() if not kinds or entry.device.kind in kinds}
    choice = nearest(name, allowed) if allowed else f"none is of kind {' or '.join(kinds)}"
    if name not in entries:
        raise UserError(f"unknown device '{name}'; {choice}; yours are read from {os.environ.get(VARIABLE) or DEFAULT}")
    if name not in allowed:
        raise UserError(f"'{name}' is a device of kind {entries[name].device.kind}; {choice}")
    return entries[name]


def _read(file: Path, folder: Path) -> dict[str, Entry]:
    top = compose(read_text(file), str(file), needs="a devices' file must have an entry for each device")
    return {name: _entry(name, place, folder) for name, place in top.entries("names to devices").items()}


def _entry(name: str, place: Place, folder: Path) -> Entry:
    if not re.fullmatch(_NAME, name):
        raise place.error("a device's name is made of letters, digits, '_', '.' and '-', a letter or digit first")
    values = {key: inner.plain() for key, inner in place.entries("keys to values").items()}
    if "kind" not in values:
        raise place.error(f"has no kind; {nearest('', KINDS)}")
    if str(values["kind"]) not in KINDS:
        raise place.at("kind").error(f"unknown kind '{values['kind']}'; {nearest(values['kind'], KINDS)}")
    model = KINDS[values["kind"]]
    try:
        device = model.model_validate(values)
    except ValidationError as error:
        raise invalid(place, error, model) from None
    return Entry(name, device, folder, place.where)


def measured_kind(entry: Entry) -> bool:
    """Whether the figures of a device are measured ones."""
    return isinstance(entry.device, HostDevice | CudaDevice | JetsonDevice)
