"""The file of a latency table: one JSON line for each element and each whole network that was measured.

Lines are only ever added, so a file can be filled in many sittings and survives a crash. All figures of one file come
from one device in one state.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from boostformer.architecture import Architecture
from boostformer.errors import UserError, os_refusal
from boostformer.parts import Part
from evaluators.costs.table import part_key
from evaluators.latency.backend import Measured


@dataclass(frozen=True)
class Row:
    """One measured graph: ``what`` is an element's key or an architecture's JSON."""

    what: str
    ms: float
    low_ms: float
    high_ms: float
    runs: int
    graph: str
    """:func:`evaluators.latency.graphs.graph_hash`."""
    code: str
    """Fingerprint of the code that made the graph."""
    provenance: str

    @property
    def measured(self) -> Measured:
        """As it was measured."""
        return Measured(self.ms, self.low_ms, self.high_ms, self.runs)

    @classmethod
    def of(cls, what: str, measured: Measured, graph: str, code: str, provenance: str) -> Row:
        m = measured
        return cls(what, m.median_ms, m.low_ms, m.high_ms, m.runs, graph, code, provenance)


class TableFile:
    """What ``file`` holds, by element and by network; a later line replaces an earlier one about the same.

    Raises :class:`UserError` with file and line when a line is not one of ours or is of another device than the first.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.elements: dict[str, Row] = {}
        self.networks: dict[str, Row] = {}
        self.spaces: dict[str, dict[str, Any]] = {}
        """Plain spaces that were profiled, by name, the last one last."""
        self.provenance: str | None = None
        self._torn = False
        self._whole: int | None = None
        try:
            content = file.read_text(encoding="utf-8") if file.exists() else ""
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{file}: cannot be read: {error}") from None
        lines = content.splitlines()
        self._torn = content != "" and not content.endswith("\n")
        for number, line in enumerate(lines, 1):
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                if number == len(lines) and self._torn:  # by a crash: measured again, once this is out of the way
                    self._whole = len(content.encode()) - len(line.encode())
                    self._torn = False
                    continue
                raise UserError(f"{file}:{number}: is not a line of a latency table") from None
            except UserError as error:
                raise UserError(f"{file}:{number}: {error}") from None

    @property
    def digest(self) -> str:
        """Of all figures: predictions from files with equal digests are equal."""
        rows = [asdict(row) for rows in (self.elements, self.networks) for _, row in sorted(rows.items())]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:8]

    def add_element(self, element: Part, measured: Measured, graph: str, code: str, provenance: str) -> None:
        self._add("element", Row.of(part_key(element), measured, graph, code, provenance))

    def add_network(self, arch: Architecture, measured: Measured, graph: str, code: str, provenance: str) -> None:
        self._add("network", Row.of(arch.to_json(), measured, graph, code, provenance))

    def add_space(self, name: str, space: dict[str, Any]) -> None:
        """Remembers what was profiled, unless it is the last one already."""
        if list(self.spaces.items())[-1:] != [(name, space)]:
            self._append({"space": name, "choices": space})

    def check(self, provenance: str) -> None:
        """Raises :class:`UserError` unless figures of this provenance may be added."""
        if self.provenance not in (None, provenance):
            raise UserError(
                f"{self.file}: its figures are '{self.provenance}', the device's are now '{provenance}'; "
                "bring the device into that state again, or give the table another file"
            )

    def _add(self, kind: str, row: Row) -> None:
        self.check(row.provenance)
        values = asdict(row)
        self._append({kind: values.pop("what"), **values})

    def _append(self, entry: dict[str, Any]) -> None:
        line = ("\n" if self._torn else "") + json.dumps(entry) + "\n"
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as stream:
                if self._whole is not None:
                    stream.truncate(self._whole)
                stream.write(line)
        except OSError as error:
            raise os_refusal(self.file, "cannot be written", error) from None
        self._torn, self._whole = False, None
        self._take(entry)

    def _take(self, entry: dict[str, Any]) -> None:
        entry = dict(entry)
        if "space" in entry:
            name = entry["space"]
            self.spaces.pop(name, None)
            self.spaces[name] = entry["choices"]
            return
        kind = "element" if "element" in entry else "network"
        row = Row(what=entry.pop(kind), **entry)
        if self.provenance not in (None, row.provenance):
            raise UserError(f"its figure is '{row.provenance}', those before are '{self.provenance}'")
        self.provenance = row.provenance
        (self.elements if kind == "element" else self.networks)[row.what] = row
