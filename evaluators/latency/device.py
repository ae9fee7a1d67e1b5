"""The base classes of devices' entries: typed settings that can open what they describe.

A kind of device is one class with the fields of its entry and :meth:`DeviceConfig.open`, beside what it opens. Reading
entries is quick: heavy packages are imported by what opens a device, not by the module that declares its fields.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from evaluators.latency.additive import Additive
    from evaluators.latency.backend import Backend, Meter

Precision = Literal["fp16", "fp32"]


class DeviceConfig(BaseModel):
    """Settings of one device in ``devices.yaml``; each subclass has a ``kind`` that names it there.

    Attributes:
        PLACE: settings that say how the device is reached from one machine and change no figure.
        here: whether it is this machine, so that other work here would disturb it.
        measured: whether its figures are measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    PLACE: ClassVar[frozenset[str]] = frozenset()
    here: ClassVar[bool] = False
    measured: ClassVar[bool] = False

    kind: str

    def open(self, name: str, folder: Path) -> Backend:
        """Make the backend that tells how long networks take on the device.

        Args:
            name: the device's, for messages.
            folder: where relative paths of the settings start.

        Raises :class:`boostformer.errors.UserError` for settings that cannot be right.
        """
        raise NotImplementedError

    @property
    def about(self) -> str | None:
        """The name of another device that is measured for this one's figures, where there is one."""
        return None


class MeasuredConfig(DeviceConfig):
    """A device on which whole networks are run."""

    measured: ClassVar[bool] = True


class MeterConfig(MeasuredConfig):
    """A device that runs graphs, and so can be measured part by part."""

    def meter(self, name: str, folder: Path) -> Meter:
        """Make what runs graphs on the device; arguments and errors are those of :meth:`open`."""
        raise NotImplementedError

    def open(self, name: str, folder: Path) -> Backend:
        from evaluators.latency.measured import Metered

        return Metered(self.meter(name, folder))


class AdditiveConfig(DeviceConfig):
    """A device whose latencies are sums over parts, told without running anything."""

    def open(self, name: str, folder: Path) -> Additive:
        raise NotImplementedError
