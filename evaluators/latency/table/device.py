"""The entry of a device whose latencies are predicted from a table of measured parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from evaluators.latency.device import AdditiveConfig

if TYPE_CHECKING:
    from evaluators.latency.table.table import Table


class TableDevice(AdditiveConfig):
    """Predictions from the measured parts of networks, and some whole ones, of another device."""

    PLACE: ClassVar[frozenset[str]] = frozenset({"file"})

    kind: Literal["table"]
    of: str
    """The device that is measured."""
    file: Path
    """JSON lines; relative to the devices' file."""

    @property
    def about(self) -> str:
        return self.of

    def open(self, name: str, folder: Path) -> Table:
        from evaluators.latency.table.file import TableFile
        from evaluators.latency.table.table import Table

        return Table(TableFile(folder / self.file), name)
