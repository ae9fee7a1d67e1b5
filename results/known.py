"""What a run knew when it began, from other runs: networks with their scores, or trained weights alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from results.schema import checked_count, checked_digest

KNOWN = "known"
"""The study's attribute that holds it; a run without other runs behind it has none."""


@dataclass(frozen=True)
class Source:
    """Another run.

    Attributes:
        run: its folder when it was read.
        networks: how many it had trained.
        inside: how many of these are in this run's space or, as parents, have weights.
        fitting: how many of those are within this run's budgets, so far as is known without measuring.
        as_parents: whether only their weights serve.
    """

    run: str
    networks: int
    inside: int
    fitting: int
    as_parents: bool = False

    def __str__(self) -> str:
        found = f"{self.networks} network{'s' * (self.networks != 1)} known from {self.run}"
        if self.as_parents:
            return f"{found}, the weights of {self.inside} to begin from"
        budgets = "" if self.fitting == self.inside else f", {self.fitting} of these within the budgets"
        return f"{found}, {self.inside} in the space{budgets}"


@dataclass(frozen=True)
class Ancestor:
    """A network of another run whose trained weights networks may begin from.

    Attributes:
        id: the network's.
        weights: SHA-256 of the weights.
        behind: iterations that lie behind them.
        architecture: as ``Architecture.to_dict`` writes it, at its own size.
        labels: its classes' names.
    """

    id: str
    weights: str
    behind: int
    architecture: dict[str, Any] = field(hash=False)
    labels: tuple[str, ...]

    @cached_property
    def network(self) -> Architecture:
        return Architecture.from_dict(self.architecture)


@dataclass(frozen=True)
class Known:
    """All that a run has from others: ``ids`` are the networks whose results count, at no cost."""

    sources: tuple[Source, ...] = ()
    ids: frozenset[str] = frozenset()
    ancestors: tuple[Ancestor, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values; :meth:`of` reads them from a study's attributes."""
        return {
            "sources": [asdict(source) for source in self.sources],
            "ids": sorted(self.ids),
            "ancestors": [asdict(ancestor) for ancestor in self.ancestors],
        }

    @classmethod
    def of(cls, study: Mapping[str, Any], where: str) -> Known:
        """Read what a study with these attributes knows; :class:`UserError` when that is damaged."""
        if KNOWN not in study:
            return cls()
        try:
            values = study[KNOWN]
            return cls(
                tuple(map(_source, values["sources"])),
                frozenset(map(str, values["ids"])),
                tuple(map(_ancestor, values["ancestors"])),
            )
        except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
            raise UserError(f"{where}: damaged: {KNOWN} ({type(error).__name__}: {error})") from None


def _source(values: Mapping[str, Any]) -> Source:
    counts = {name: checked_count(values, name) for name in ("networks", "inside", "fitting")}
    return Source(str(values["run"]), **counts, as_parents=bool(values["as_parents"]))


def _ancestor(values: Mapping[str, Any]) -> Ancestor:
    architecture = values["architecture"]
    if Architecture.from_dict(architecture).id != values["id"]:
        raise ValueError(f"the id {values['id']!r} is not the architecture's")
    labels = tuple(map(str, values["labels"]))
    return Ancestor(
        values["id"], checked_digest(values["weights"]), checked_count(values, "behind"), architecture, labels
    )
