"""`Timing`: the device whose milliseconds a search asks for, and the provenance that all its figures must have."""

from __future__ import annotations

from typing import Any

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.figures import Latency, Provenance
from evaluators.latency.additive import Additive
from evaluators.latency.backend import Backend, Say, Unavailable
from evaluators.latency.device import DeviceConfig
from evaluators.latency.devices import Entry, find
from search.config.retry import retrying
from search.config.sections import Section

PAUSES = (5.0, 15.0, 60.0, 300.0)
"""Seconds to wait before a device that could not be reached is tried again; the last one from then on."""


class Timing(Section):
    """A run's device as it was when the run began.

    A worker reaches it as its own ``devices.yaml`` says; a study decides neither the address nor the key.

    Attributes:
        device: its name.
        entry: its settings, all but those that say how it is reached from one machine.
        provenance: of all figures of the run.
    """

    device: str
    entry: dict[str, Any]
    provenance: Provenance

    @classmethod
    def of(cls, device: str, earlier: Timing | None = None) -> tuple[Timing, Backend | None]:
        """Describe the device of this name as it is now, and give it opened.

        One that is described as ``earlier`` was, and measured, need not be at hand: it is not opened.
        """
        entry = find(device)
        settings = _settings(entry)
        if earlier is not None and entry.device.measured and (earlier.device, earlier.entry) == (device, settings):
            return earlier, None
        try:
            backend = entry.open()
            return cls(device=device, entry=settings, provenance=backend.provenance()), backend
        except Unavailable as error:
            raise UserError(f"device '{device}' cannot be reached: {error}") from None

    @property
    def is_disturbed(self) -> bool:
        """Whether trainings on this machine would disturb what is measured on it."""
        return find(self.device).device.here

    def described(self) -> Entry[DeviceConfig]:
        """Find the device here; :class:`UserError` when it is described otherwise than when the run began."""
        entry = find(self.device)
        mine = _settings(entry)
        for key in self.entry.keys() | mine.keys():
            if self.entry.get(key) != mine.get(key):
                raise UserError(
                    f"{entry.where}: device '{self.device}': {key} is {mine.get(key)!r}, the run began with "
                    f"{self.entry.get(key)!r}; describe it so, or begin another run"
                )
        return entry

    def open(self) -> Backend:
        """Open the device; :class:`UserError` when a table's figures are no longer those the run began with."""
        backend = self.described().open()
        if isinstance(backend, Additive):
            self.require_same(backend.provenance())
        return backend

    def measuring(self) -> Entry[DeviceConfig] | None:
        """Give the device that can be measured: this one, or the one that a table is about."""
        return self.described().measuring()

    def require_same(self, provenance: Provenance) -> None:
        """Raise :class:`UserError` for figures of another provenance, which are never mixed in one run."""
        self.provenance.require_same(provenance, f"device '{self.device}': bring it back, or begin another run")

    def measure(self, backend: Backend, arch: Architecture, *, patient: bool, say: Say) -> Latency:
        """Measure one network; raises Unavailable, unless ``patient``, which tries until the device is back."""

        def away(error: BaseException) -> str | None:
            return str(error) if patient and isinstance(error, Unavailable) else None

        def told(why: str, pause: float) -> None:
            say(f"device '{self.device}' cannot be reached ({why}); trying again in {pause:.0f} s")

        found = retrying(lambda: backend.latency(arch, say=say), away, PAUSES, told)
        self.require_same(found.provenance)
        return found


def _settings(entry: Entry[DeviceConfig]) -> dict[str, Any]:
    return entry.device.model_dump(mode="json", exclude=set(entry.device.PLACE))
