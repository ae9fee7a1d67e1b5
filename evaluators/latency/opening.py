"""From a device's entry to what times networks on it; each kind's packages are imported only when it is opened."""

from __future__ import annotations

from evaluators.latency.backend import Backend, Meter
from evaluators.latency.devices import CudaDevice, Entry, EstimateDevice, HostDevice, JetsonDevice, TableDevice, find


def open_meter(entry: Entry) -> Meter:
    """What runs graphs on a device that can be measured."""
    if isinstance(entry.device, HostDevice):
        from evaluators.latency.host import HostMeter

        return HostMeter(entry.device.threads, entry.device.seconds)
    assert isinstance(entry.device, JetsonDevice), entry
    from evaluators.latency.jetson.meter import JetsonMeter

    return JetsonMeter(entry.name, entry.device, entry.folder)


def open_backend(entry: Entry) -> Backend:
    """What says how long networks take; :class:`UserError` for a table that cannot predict yet."""
    if isinstance(entry.device, TableDevice):
        from evaluators.latency.table.file import TableFile
        from evaluators.latency.table.table import Table

        return Table(TableFile(entry.folder / entry.device.file), entry.name)
    if isinstance(entry.device, EstimateDevice):
        from evaluators.latency.estimate.estimate import Estimate

        return Estimate(entry.device.board, entry.device.power_mode, entry.device.precision)
    if isinstance(entry.device, CudaDevice):
        from evaluators.latency.gpu import CudaGraphs

        return CudaGraphs(entry.device.precision)
    from evaluators.latency.measured import Metered

    return Metered(open_meter(entry))


def measuring(entry: Entry) -> Entry | None:
    """The device whose latency an entry is about, if it can be measured: its own, or a table's."""
    if isinstance(entry.device, TableDevice):
        return find(entry.device.of, "host", "jetson")
    return None if isinstance(entry.device, EstimateDevice) else entry
