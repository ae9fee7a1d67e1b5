"""`Timing`: the device whose milliseconds a search asks for, and the provenance that all its figures must share."""

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
"""Seconds to wait before a device that could not be reached is tried again; the last one is used from then on."""


class Timing(Section):
    """A run's device as it was when the run began.

    Each worker's own ``devices.yaml`` says how it reaches the device; a study decides neither address nor key.

    Attributes:
        device: its name.
        entry: its settings, except how it is reached from one machine.
        provenance: of all figures of the run.
    """

    device: str
    entry: dict[str, Any]
    provenance: Provenance

    @classmethod
    def of(cls, device: str, earlier: Timing | None = None) -> tuple[Timing, Backend | None]:
        """Describe the device of this name as it is now, and return it opened.

        A measured device that is described as in ``earlier`` need not be at hand, so it is not opened.
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
        """Tell whether trainings on this machine would disturb what is measured on the device."""
        return find(self.device).device.here

    def described(self) -> Entry[DeviceConfig]:
        """Find the device here; :class:`UserError` when its description has changed since the run began."""
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
        """Open the device; :class:`UserError` when a table's figures have changed since the run began."""
        backend = self.described().open()
        if isinstance(backend, Additive):
            self.require_same(backend.provenance())
        return backend

    def measuring(self) -> Entry[DeviceConfig] | None:
        """Return the device that can be measured: this one, or the one that a table describes."""
        return self.described().measuring()

    def require_same(self, provenance: Provenance) -> None:
        """Raise :class:`UserError` for figures of another provenance, which one run never mixes."""
        self.provenance.require_same(provenance, f"device '{self.device}': bring it back, or begin another run")

    def measure(self, backend: Backend, arch: Architecture, *, patient: bool, say: Say) -> Latency:
        """Measure one network.

        Args:
            backend: the opened device.
            arch: the network.
            patient: whether to try again until a device that is away is back; otherwise Unavailable is raised.
            say: is told what happens.

        Returns:
            The latency in milliseconds, of the run's provenance.
        """

        def away(error: BaseException) -> str | None:
            return str(error) if patient and isinstance(error, Unavailable) else None

        def told(why: str, pause: float) -> None:
            say(f"device '{self.device}' cannot be reached ({why}); trying again in {pause:.0f} s")

        found = retrying(lambda: backend.latency(arch, say=say), away, PAUSES, told)
        self.require_same(found.provenance)
        return found


def _settings(entry: Entry[DeviceConfig]) -> dict[str, Any]:
    return entry.device.model_dump(mode="json", exclude=set(entry.device.PLACE))
