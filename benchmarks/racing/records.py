"""Results of earlier races, one JSON line for each landscape, contestant and seed, so that a race can be resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """One contestant on one landscape with one seed. ``landscape_version`` and ``version`` are those of the code."""

    landscape: str
    landscape_version: str
    method: str
    version: str
    seed: int
    evaluations: int
    """What was allowed."""
    trained: int
    """Fewer only when the contestant found nothing more to try."""
    checkpoints: list[int]
    hypervolumes: list[float]
    """Absolute, of the true values of the selected set, after as many evaluations as ``checkpoints`` say."""
    wall_ms: float
    """Of one proposal."""
    cpu_ms: float

    def after(self, evaluations: int) -> float:
        """The hypervolume there."""
        return self.hypervolumes[self.checkpoints.index(evaluations)]


Versions = dict[tuple[str, str], tuple[str, str]]
"""(landscape, method) -> (landscape's version, method's version)."""


def read(file: Path, versions: Versions) -> list[Result]:
    """The results of the present code, of each race the longest. A line that a killed writer cut is dropped."""
    if not file.exists():
        return []
    longest: dict[tuple[str, str, int], Result] = {}
    for line in file.read_text().split("\n")[:-1]:
        try:
            result = Result(**json.loads(line))
        except (ValueError, TypeError):  # two writers after a torn line, or of another state of the code
            continue
        if versions.get((result.landscape, result.method)) != (result.landscape_version, result.version):
            continue
        key = (result.landscape, result.method, result.seed)
        if key not in longest or longest[key].evaluations < result.evaluations:
            longest[key] = result
    return sorted(longest.values(), key=lambda result: (result.landscape, result.method, result.seed))


def append(file: Path, results: Iterable[Result]) -> None:
    """In one write each, so that several races may share the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        for result in results:
            os.write(descriptor, (json.dumps(asdict(result)) + "\n").encode())
    finally:
        os.close(descriptor)
