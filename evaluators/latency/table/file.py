"""The file of a latency table: one JSON line for each element and each whole network that was measured.

Lines are only ever added, so a file can be filled in many sittings and by several processes, and survives a crash. All
figures of one file come from one device in one state.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from boostformer.architecture import Architecture
from boostformer.figures import Provenance
from boostformer.json_lines import JsonLines
from boostformer.parts import Part
from evaluators.costs.table import part_key
from evaluators.latency.backend import Measured

VERSION = 2
"""Version of the lines' format."""


@dataclass(frozen=True)
class Row:
    """One measured graph.

    Attributes:
        what: an element's key or an architecture's JSON.
        measured: its latency.
        graph: :func:`evaluators.latency.graphs.graph_hash`.
        code: fingerprint of the code that made the graph.
        provenance: what the latency depends on.
    """

    what: str
    measured: Measured
    graph: str
    code: str
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
        """Read :meth:`to_dict`'s form; ValueError when it is another."""
        try:
            provenance = Provenance.from_dict(data["provenance"])
            return cls(what, Measured.from_dict(data), data["graph"], data["code"], provenance)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a row: {error}") from None


class TableFile:
    """The rows of ``file``, by element and by network; a later line replaces an earlier one about the same.

    Raises :class:`UserError` when the file is not a latency table, is of another version, or holds figures of several
    devices. Damaged lines are set aside with a warning.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.elements: dict[str, Row] = {}
        self.networks: dict[str, Row] = {}
        self.spaces: dict[str, dict[str, Any]] = {}
        """Plain spaces that were profiled, by name, the last one last."""
        self.provenance: Provenance | None = None
        self._lines = JsonLines(file, VERSION)
        self._lines.read(self._take)

    @property
    def digest(self) -> str:
        """A hash of all figures: predictions from files with equal digests are equal."""
        rows = [(what, row.to_dict()) for rows in (self.elements, self.networks) for what, row in sorted(rows.items())]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:8]

    def add_element(self, element: Part, measured: Measured, graph: str, code: str, provenance: Provenance) -> None:
        """Keep the latency of an element.

        Args:
            element: the element.
            measured, graph, code, provenance: as for :meth:`add_network`.
        """
        self._add("element", Row(part_key(element), measured, graph, code, provenance))

    def add_network(
        self, arch: Architecture, measured: Measured, graph: str, code: str, provenance: Provenance
    ) -> None:
        """Keep the latency of a whole network.

        Args:
            arch: the network.
            measured: its latency.
            graph: :func:`evaluators.latency.graphs.graph_hash` of what was measured.
            code: fingerprint of the code that made the graph.
            provenance: what the latency depends on; :class:`UserError` when it is not that of the file's figures.
        """
        self._add("network", Row(arch.to_json(), measured, graph, code, provenance))

    def add_space(self, name: str, space: dict[str, Any]) -> None:
        """Remember what was profiled, unless it is the last one already."""
        with self._lines.locked() as append:
            self._lines.read(self._take)
            if list(self.spaces.items())[-1:] != [(name, space)]:
                append({"space": name, "choices": space})
        self._lines.read(self._take)

    def check(self, provenance: Provenance) -> None:
        """Raise :class:`UserError` unless figures of this provenance may be added."""
        if self.provenance is not None:
            self.provenance.require_same(provenance, str(self.file))

    def _add(self, kind: str, row: Row) -> None:
        # What else was recorded would make the file many times larger.
        row = replace(row, measured=replace(row.measured, state={}))
        with self._lines.locked() as append:
            self._lines.read(self._take)  # what others have added: it decides whether this may stand beside it
            self.check(row.provenance)
            append({kind: row.what, **row.to_dict()})
        self._lines.read(self._take)

    def _take(self, entry: dict[str, Any]) -> None:
        if "space" in entry:
            name, choices = entry["space"], entry.get("choices")
            if not (isinstance(name, str) and isinstance(choices, dict)):
                raise ValueError("not a space")
            self.spaces.pop(name, None)
            self.spaces[name] = choices
            return
        kind = "element" if "element" in entry else "network"
        row = Row.from_dict(str(entry.get(kind)), entry)
        if self.provenance is None:
            self.provenance = row.provenance
        self.provenance.require_same(row.provenance, "the lines before")
        (self.elements if kind == "element" else self.networks)[row.what] = row
