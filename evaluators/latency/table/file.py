"""The file of a latency table: one JSON line for each element and each whole network that was measured.

Lines are only ever added, so a file can be filled in many sittings and survives a crash. All figures of one file come
from one device in one state.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from boostformer.architecture import Architecture
from boostformer.errors import UserError, os_refusal
from boostformer.figures import Provenance
from boostformer.parts import Part
from evaluators.costs.table import part_key
from evaluators.latency.backend import Measured

VERSION = 2
"""Of the lines' format."""


@dataclass(frozen=True)
class Row:
    """One measured graph: ``what`` is an element's key or an architecture's JSON."""

    what: str
    measured: Measured
    graph: str
    """:func:`evaluators.latency.graphs.graph_hash`."""
    code: str
    """Fingerprint of the code that made the graph."""
    provenance: Provenance

    @property
    def ms(self) -> float:
        return self.measured.ms

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, all but ``what``."""
        return {
            **self.measured.to_dict(),
            "graph": self.graph,
            "code": self.code,
            "provenance": self.provenance.to_dict(),
        }

    @classmethod
    def from_dict(cls, what: str, data: Mapping[str, Any]) -> Row:
        """Read :meth:`to_dict`'s form; ValueError, TypeError or KeyError when it is another."""
        provenance = Provenance.from_dict(data["provenance"])
        return cls(what, Measured.from_dict(data), data["graph"], data["code"], provenance)


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
        self.provenance: Provenance | None = None
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
        rows = [(what, row.to_dict()) for rows in (self.elements, self.networks) for what, row in sorted(rows.items())]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:8]

    def add_element(self, element: Part, measured: Measured, graph: str, code: str, provenance: Provenance) -> None:
        self._add("element", Row(part_key(element), measured, graph, code, provenance))

    def add_network(
        self, arch: Architecture, measured: Measured, graph: str, code: str, provenance: Provenance
    ) -> None:
        self._add("network", Row(arch.to_json(), measured, graph, code, provenance))

    def add_space(self, name: str, space: dict[str, Any]) -> None:
        """Remembers what was profiled, unless it is the last one already."""
        if list(self.spaces.items())[-1:] != [(name, space)]:
            self._append({"space": name, "choices": space})

    def check(self, provenance: Provenance) -> None:
        """Raise :class:`UserError` unless figures of this provenance may be added."""
        if self.provenance is not None:
            self.provenance.require_same(provenance, str(self.file))

    def _add(self, kind: str, row: Row) -> None:
        self.check(row.provenance)
        # What else was recorded would make the file many times larger.
        row = replace(row, measured=replace(row.measured, state={}))
        self._append({kind: row.what, **row.to_dict()})

    def _append(self, entry: dict[str, Any]) -> None:
        entry = {**entry, "version": VERSION}
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
        if entry.get("version") != VERSION:
            found = entry.get("version", 1)
            raise UserError(
                f"is of a latency table's format {found}, this program reads {VERSION}; give the table another file"
            )
        if "space" in entry:
            name = entry["space"]
            self.spaces.pop(name, None)
            self.spaces[name] = entry["choices"]
            return
        kind = "element" if "element" in entry else "network"
        row = Row.from_dict(entry[kind], entry)
        if self.provenance is not None:
            self.provenance.require_same(row.provenance, "the lines before")
        self.provenance = row.provenance
        (self.elements if kind == "element" else self.networks)[row.what] = row
