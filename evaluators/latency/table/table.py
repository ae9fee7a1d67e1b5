"""Predictions from a device's measured elements, corrected by some whole networks that were measured on it too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boostformer.architecture import RGB_BANDS, Architecture
from boostformer.errors import UserError
from boostformer.figures import Provenance
from boostformer.fingerprints import code_fingerprint
from boostformer.parts import Part
from evaluators.costs.table import part_key
from evaluators.latency.additive import Additive
from evaluators.latency.graphs import CODE, elements, elements_of, frames_of, space_elements
from evaluators.latency.table.correction import Correction, fit, leave_one_out, rank_correlation
from evaluators.latency.table.file import TableFile

ENOUGH = 5
"""Least number of whole networks by which a correction can be trusted."""
MOST_ERROR, LEAST_RANK = 0.25, 0.7
"""Median error, and rank correlation with what was measured, of networks left out of the fit, that a table may have."""
BAND = 0.9
"""The band holds this share of the errors of networks that were left out of the fit."""


class Table(Additive):
    """Predicts ``overhead + sum(slope * element + launch)`` with the correction fitted to the file's networks.

    ``name`` is the device's, for messages.
    """

    def __init__(self, file: TableFile, name: str) -> None:
        super().__init__()
        self.file, self.name = file, name
        self.code = code_fingerprint(*CODE)

    @cached_property
    def correction(self) -> Correction:
        """The correction by the file's networks; :class:`UserError` when too few were measured."""
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
        """List what has to be measured before this network can be predicted."""
        return self.missing(_with_frames(element for element, _ in elements(arch)))

    @property
    def overhead_ms(self) -> float:  # type: ignore[override]
        return self.correction.overhead_ms

    @cached_property
    def errors(self) -> NDArray[np.float64]:
        """Relative error of each calibrating network when it is left out of the fit; raises as the correction does."""
        archs, _ = self.calibrated, self.correction
        measured = np.array(list(archs.values()))
        return leave_one_out(self.features(list(archs)), measured) / measured - 1

    @cached_property
    def band(self) -> tuple[float, float]:
        """The errors of networks left out of the fit, as factors; :class:`UserError` where they are beyond all use."""
        half = float(np.quantile(np.abs(self.errors), BAND))
        if not half < 1:
            raise UserError(
                f"{self.file.file}: networks left out of the fit are predicted wrong by {half:.0%}; give the table "
                "another file and profile again, with longer runs or more networks"
            )
        return 1 - half, 1 + half

    def doubts(self) -> str | None:
        """Say what fails where networks left out of the fit are predicted badly; raises as the correction does."""
        measured = np.array(list(self.calibrated.values()))
        error = float(np.median(np.abs(self.errors)))
        rank = rank_correlation((measured * (1 + self.errors)).tolist(), measured.tolist())
        if error <= MOST_ERROR and not rank < LEAST_RANK:  # undefined where all are equal, which is no fault
            return None
        return (
            f"{self.file.file}: its calibration fails: networks left out of the fit are predicted with a median error "
            f"of {error:.0%} and a Spearman correlation of {rank:.2f}, at most {MOST_ERROR:.0%} and at least "
            f"{LEAST_RANK} are wanted"
        )

    def provenance(self) -> Provenance:
        """Describe the table and what it was measured with; :class:`UserError` while it is empty."""
        if (measured := self.file.provenance) is None:
            raise UserError(
                f"{self.file.file}: holds no figures; run: boostformer latency profile-space SPACE --device {self.name}"
            )
        counts = f"{len(self.file.elements)} elements and {len(self.calibrated)} networks"
        engine = f"table {self.file.digest} of {counts} by {measured.engine}"
        return Provenance("predicted", engine, measured.device, measured.precision, measured.settings)

    def part(self, part: Part) -> float:
        """Predict the milliseconds of a part; :class:`UserError` when one of its elements was not measured."""
        elements = elements_of(part)
        if missing := self.missing(_with_frames(elements)):
            raise UserError(self.lacks(missing, "of one network"))
        return sum((self.correction.of_element(self.raw(element)) for element in elements), 0.0)

    def raw(self, element: Part) -> float:
        """Give the milliseconds of an element as measured, without its frames."""
        rows = self.file.elements
        return rows[part_key(element)].ms - sum(rows[part_key(frame)].ms / 2 for frame in frames_of(element))

    def prepare(self, slots: Mapping[str, Sequence[Any]], one: Architecture) -> None:
        height, width = one.size
        if missing := self.missing(space_elements(slots, one)):
            bands = f", {one.bands} bands" if one.bands != RGB_BANDS else ""
            raise UserError(self.lacks(missing, f"of the space at {height}x{width}, {one.classes} classes{bands}"))
        self.band  # noqa: B018  # says so when nothing can be predicted

    def missing(self, wanted: Iterable[Part]) -> list[Part]:
        """List the elements that were not measured, or by another state of the code."""
        rows = self.file.elements
        return [e for e in dict.fromkeys(wanted) if (key := part_key(e)) not in rows or rows[key].code != self.code]

    def lacks(self, missing: list[Part], what: str) -> str:
        """Word the refusal for want of elements that were not measured."""
        first = missing[0]
        return (
            f"{self.file.file}: lacks {len(missing)} elements {what}, such as {first.kind} {first.spec.name}; run: "
            f"boostformer latency profile-space SPACE --device {self.name}"
        )

    def features(self, archs: list[Architecture]) -> NDArray[np.float64]:
        """Sum up the elements' milliseconds, and count the elements: (networks, 2)."""
        rows = []
        for arch in archs:
            listed = list(elements(arch))
            rows.append((sum(self.raw(e) * times for e, times in listed), sum(times for _, times in listed)))
        return np.array(rows, dtype=np.float64)


def _with_frames(elements: Iterable[Part]) -> Iterator[Part]:
    for element in elements:
        yield element
        yield from frames_of(element)
