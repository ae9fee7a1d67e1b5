"""The latency of a search: on which device, from where its figures come, and asking for one while others wait."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.figures import Latency, Provenance
from evaluators.latency.additive import Additive
from evaluators.latency.backend import Backend, Say, Unavailable
from evaluators.latency.device import DeviceConfig
from evaluators.latency.devices import KINDS, Entry, find

PAUSES = (5.0, 15.0, 60.0, 300.0)
"""Seconds to wait before a device that could not be reached is tried again; the last one from then on."""


@dataclass(frozen=True)
class Timing:
    """A run's device as it was when the run began, and the provenance that all its figures must have."""

    device: str
    entry: dict[str, Any]
    folder: str
    provenance: str

    @classmethod
    def of(cls, device: str, earlier: Timing | None = None) -> Timing:
        """For the device of this name. A board that is described as ``earlier`` need not be at hand now."""
        entry = find(device)
        values = entry.device.model_dump(mode="json")
        if earlier is not None and entry.device.measured and (earlier.device, earlier.entry) == (device, values):
            return earlier
        try:
            provenance = str(entry.open().provenance())
        except Unavailable as error:
            raise UserError(f"device '{device}' cannot be reached: {error}") from None
        return cls(device, values, str(entry.folder), provenance)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def as_entry(self) -> Entry[DeviceConfig]:
        device = KINDS[self.entry["kind"]].model_validate(self.entry)
        return Entry(self.device, device, Path(self.folder), "the run")

    def open(self) -> Backend:
        """The backend; :class:`UserError` when a table's figures are no longer those the run began with."""
        backend = self.as_entry().open()
        if isinstance(backend, Additive):
            self.check(backend.provenance())
        return backend

    def check(self, provenance: Provenance) -> None:
        """Figures of different provenance are never mixed in one run."""
        if str(provenance) != self.provenance:
            raise UserError(
                f"device '{self.device}': this run's latencies are '{self.provenance}', "
                f"those of now would be '{provenance}'; they are not mixed: bring the device back or begin another run"
            )

    def measure(self, backend: Backend, arch: Architecture, *, patient: bool, say: Say) -> Latency:
        """Of one network; Unavailable, unless ``patient``, which tries until the device is back."""
        attempt = 0
        while True:
            try:
                found = backend.latency(arch, say=say)
            except Unavailable as error:
                if not patient:
                    raise
                pause = PAUSES[min(attempt, len(PAUSES) - 1)]
                attempt += 1
                say(f"device '{self.device}' cannot be reached ({error}); trying again in {pause:.0f} s")
                time.sleep(pause)
            else:
                self.check(found.provenance)
                return found
