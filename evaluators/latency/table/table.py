"""Predictions from a device's measured elements, corrected by some whole networks that were measured on it too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.fingerprints import code_fingerprint
from boostformer.parts import Part
from evaluators.costs.table import part_key
from evaluators.latency.additive import Additive
from evaluators.latency.graphs import CODE, elements, elements_of, frames_of, space_elements
from evaluators.latency.table.correction import Correction, fit, leave_one_out
from evaluators.latency.table.file import TableFile

ENOUGH = 5
"""With fewer whole networks a correction is not to be trusted."""
BAND = 0.9
"""The band holds this share of the errors of networks that were left out of the fit."""


class Table(Additive):
    """Prediction: ``overhead + sum(slope * element + launch)`` with the correction fitted to the file's networks.

    ``name`` is the device's, for messages.
    """

    kind = "predicted"

    def __init__(self, file: TableFile, name: str) -> None:
        super().__init__()
        self.file, self.name = file, name
        self.code = code_fingerprint(*CODE)

    @cached_property
    def correction(self) -> Correction:
        """Raises :class:`UserError` when too few whole networks were measured."""
        archs = self.calibrated
        if len(archs) < ENOUGH:
            raise UserError(
                f"{self.file.file}: holds {len(archs)} whole networks, a prediction needs {ENOUGH}; run: "
                f"boostformer latency calibrate --device {self.name}"
            )
        return fit(self.features(list(archs)), np.array(list(archs.values())))

    @cached_property
    def calibrated(self) -> dict[Architecture, float]:
        """Milliseconds of the whole networks that this code can predict."""
        rows = [row for row in self.file.networks.values() if row.code == self.code]
        known = {Architecture.from_json(row.what, str(self.file.file)): row.ms for row in rows}
        return {arch: ms for arch, ms in known.items() if self.can_tell(arch)}

    def can_tell(self, arch: Architecture) -> bool:
        return not self.lacking(arch)

    def lacking(self, arch: Architecture) -> list[Part]:
        """What has to be measured before this network can be predicted."""
        return self.missing(_with_frames(element for element, _ in elements(arch)))

    @property
    def overhead_ms(self) -> float:  # type: ignore[override]
        return self.correction.overhead_ms

    @cached_property
    def errors(self) -> NDArray[np.float64]:
        """Relative error of each calibrating network when it is left out of the fit."""
        archs = self.calibrated
        measured = np.array(list(archs.values()))
        return leave_one_out(self.features(list(archs)), measured) / measured - 1

    @property
    def band(self) -> tuple[float, float]:
        half = float(np.quantile(np.abs(self.errors), BAND))
        return 1 - half, 1 + half

    def provenance(self) -> str:
        return (
            f"predicted: from {len(self.file.elements)} elements and {len(self.calibrated)} networks "
            f"(table {self.file.digest}), {self.file.provenance}"
        )

    def part(self, part: Part) -> float:
        """Corrected milliseconds; :class:`UserError` when one of its elements was not measured."""
        elements = elements_of(part)
        if missing := self.missing(_with_frames(elements)):
            raise UserError(self.lacks(missing, "of one network"))
        return sum((self.correction.of_element(self.raw(element)) for element in elements), 0.0)

    def raw(self, element: Part) -> float:
        """Milliseconds of an element as measured, without its frames."""
        rows = self.file.elements
        return rows[part_key(element)].ms - sum(rows[part_key(frame)].ms / 2 for frame in frames_of(element))

    def prepare(self, slots: Mapping[str, Sequence[Any]], one: Architecture) -> None:
        height, width = one.size
        if missing := self.missing(space_elements(slots, one)):
            raise UserError(self.lacks(missing, f"of the space at {height}x{width}, {one.classes} classes"))

    def missing(self, wanted: Iterable[Part]) -> list[Part]:
        """Which elements were not measured, or of another state of the code."""
        rows = self.file.elements
        return [e for e in dict.fromkeys(wanted) if (key := part_key(e)) not in rows or rows[key].code != self.code]

    def lacks(self, missing: list[Part], what: str) -> str:
        """The message about elements that were not measured."""
        first = missing[0]
        return (
            f"{self.file.file}: lacks {len(missing)} elements {what}, such as {first.kind} {first.spec.name}; run: "
            f"boostformer latency profile-space SPACE --device {self.name}"
        )

    def features(self, archs: list[Architecture]) -> NDArray[np.float64]:
        """(networks, 2): the sum of the elements' milliseconds, and how many elements there are."""
        rows = []
        for arch in archs:
            listed = list(elements(arch))
            rows.append((sum(self.raw(e) * times for e, times in listed), sum(times for _, times in listed)))
        return np.array(rows, dtype=np.float64)


def _with_frames(elements: Iterable[Part]) -> Iterator[Part]:
    for element in elements:
        yield element
        yield from frames_of(element)
