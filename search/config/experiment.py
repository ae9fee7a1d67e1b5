"""`Experiment`: everything that decides what a search finds, resolved and frozen in its study.

Two searches with equal experiments are the same search. The number of networks to try is not part of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from importlib.metadata import version
from os.path import commonprefix
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, PlainSerializer, ValidationError, field_validator

import boostformer
from boostformer.architecture import Architecture
from boostformer.data.config import DataConfig
from boostformer.errors import UserError
from boostformer.yaml_models import worded
from evaluators.costs.budget import Budget
from results.schema import FORMAT_VERSION
from results.trial import LIMITABLE, MIOU, OBJECTIVES
from search.config.sections import Counted, ProxyConfig, SearchConfig, Section
from search.config.timing import Timing
from search_space import SearchSpace, space_from_dict

PACKAGES = ("torch", "optuna", "numpy")
PLACES = re.compile(r"data\.root|start\.place|first\.\d+\.place")
FOUND = ("versions", "screened")
"""Facts that another process may find otherwise as it begins the same search; those in the study hold."""
LEGIBLE = 80
"""Characters of a value that are shown where two differ."""


def _space(value: Any) -> Any:
    if isinstance(value, SearchSpace):
        return value
    try:
        return space_from_dict(value, "space")
    except UserError as error:
        raise ValueError(str(error).removeprefix("space: ")) from None


Space = Annotated[SearchSpace, BeforeValidator(_space), PlainSerializer(SearchSpace.to_dict)]
StoredProxy = Annotated[ProxyConfig, PlainSerializer(ProxyConfig.stored)]


class Start(Section):
    """The trained network that a search begins with.

    Attributes:
        place: where it lay when the search began.
        weights: SHA-256 of its weights' file.
        architecture: as ``Architecture.to_dict`` writes it, at its own size and for its own classes.
    """

    place: str
    weights: str
    architecture: dict[str, Any]


class First(Section):
    """A network that is proposed before all others.

    Attributes:
        place: as the run file names it.
        architecture: as ``Architecture.to_dict`` writes it, at the search's size and for its classes.
    """

    place: str
    architecture: dict[str, Any]

    @property
    def network(self) -> Architecture:
        return Architecture.from_dict(self.architecture, self.place)


class Experiment(Section):
    """A search: the resolved run file, and the facts that were found when it began.

    Attributes:
        space_name: as the run file has it.
        space: the networks, at the data's size and for its classes.
        counted: form of the network whose costs are counted, ``deployed`` or ``trained``.
        budgets: largest cost by name.
        latency: the device as it was when the search began.
        inherit: whether networks begin from the trained weights of others.
        start: the first of these, if it was given.
        first: networks that are proposed before all others.
        screened: networks that are proposed then, the best of ``search.screen`` that were seen as the search began;
            as ``Architecture.to_dict`` writes them.
        labels: class names, in the order of the masks' values.
        images: number of images in each split.
        content: digest of each split's images and masks, wherever they lie.
        versions: of this program and the packages that influence numbers.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    version: int = FORMAT_VERSION
    space_name: str
    data: DataConfig
    labels: tuple[str, ...]
    images: dict[str, int]
    content: dict[str, str]
    objectives: tuple[str, ...]
    budgets: dict[str, int | float]
    counted: Counted
    latency: Timing | None = None
    search: SearchConfig
    inherit: bool = False
    start: Start | None = None
    first: tuple[First, ...] = ()
    screened: tuple[dict[str, Any], ...] = ()
    proxy: StoredProxy
    space: Space
    versions: dict[str, str] = {}

    @field_validator("objectives")
    @classmethod
    def _objectives(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if MIOU not in names or not set(names) <= OBJECTIVES.keys():
            raise ValueError(f"{list(names)} are no objectives, allowed: {', '.join(OBJECTIVES)}, '{MIOU}' among them")
        return names

    @field_validator("budgets")
    @classmethod
    def _budgets(cls, limits: dict[str, int | float]) -> dict[str, int | float]:
        for name, limit in limits.items():
            if name not in LIMITABLE or not 0 < limit < math.inf:
                raise ValueError(f"{name}: {limit} is no limit, allowed: positive ones of {', '.join(LIMITABLE)}")
        return limits

    @property
    def budget(self) -> Budget:
        return Budget(tuple(self.budgets.items()))

    @property
    def start_network(self) -> Architecture | None:
        """The network that the search starts from, at the search's size and for its classes."""
        if self.start is None:
            return None
        own, space = Architecture.from_dict(self.start.architecture, self.start.place), self.space
        return own.replace(size=space.size, classes=space.classes, bands=space.bands)

    @property
    def asked_first(self) -> list[Architecture]:
        """The networks that are proposed before the strategy is asked."""
        screened = [Architecture.from_dict(values, "screened") for values in self.screened]
        return [first.network for first in self.first] + screened

    @property
    def is_deployed(self) -> bool:
        """Tell whether costs are counted of the folded network."""
        return self.counted == "deployed"

    def with_data(self, root: Path) -> Experiment:
        """Give the same search, with its data at another place."""
        return self.model_copy(update={"data": self.data.at(root)})

    def starting_at(self, place: Path) -> Experiment:
        """Give the same search, with the network that it starts from at another place."""
        return self.model_copy(update={"start": self.start and self.start.model_copy(update={"place": str(place)})})

    def to_dict(self) -> dict[str, Any]:
        """Return the form that the study keeps; :meth:`from_dict` reads it back to an equal experiment."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, data: dict[str, Any], source: str) -> Experiment:
        """Read the form of :meth:`to_dict`; :class:`UserError` names the ``source`` and what is wrong with it."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise UserError(f"{source}: the search's configuration is damaged: {key}: {worded(first)}") from None


def versions() -> dict[str, str]:
    """Return the versions that an experiment begins with."""
    return {"boostformer": boostformer.__version__, **{package: version(package) for package in PACKAGES}}


def difference(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """Name the first value, in the order of ``old``, that differs: ``a.3.b is 1 there, 2 here``.

    Where data or the start lie is no difference: they are known by their content; nor is what was found in passing.
    """
    for key, before, after in _pairs(old, new):
        if key in FOUND or (key == "space_name" and old["space"] == new["space"]):  # the same by another path
            continue
        if found := _differing(key, before, after):
            return found
    return None


def _differing(path: str, before: Any, after: Any) -> str | None:
    """Name the first difference of two values, as deep within them as they are alike."""
    if before == after or PLACES.fullmatch(path):
        return None
    if path == "start.weights":
        return "the weights of the network that it starts from have changed since it began"
    if path.startswith("content."):
        return f"the {path.removeprefix('content.')} images or masks have changed since it began"
    if isinstance(before, dict) and isinstance(after, dict):
        pairs = _pairs(before, after)
    elif isinstance(before, list) and isinstance(after, list) and not (_is_legible(before) and _is_legible(after)):
        pairs = _pairs(dict(enumerate(before)), dict(enumerate(after)))
    else:
        write = repr if _worded(before) == _worded(after) else _worded  # 1 and '1'
        there, here = _told_apart(write(before), write(after))
        return f"{path} is {there} there, {here} here"
    return next(filter(None, (_differing(f"{path}.{key}", *values) for key, *values in pairs)), None)


def _worded(value: Any) -> str:
    """Write a value as a run file has it, and one that is missing in words."""
    if value is None:
        return "not set"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_worded(inner)}" for key, inner in value.items() if inner is not None) + "}"
    return str(value)


def _pairs(old: dict[Any, Any], new: dict[Any, Any]) -> Iterator[tuple[Any, Any, Any]]:
    for key in old | new:
        yield key, old.get(key), new.get(key)


def _is_legible(values: list[Any]) -> bool:
    """Tell whether a list is shown whole rather than by its first item that differs."""
    return len(str(values)) <= LEGIBLE and not any(isinstance(value, dict | list) for value in values)


def _told_apart(before: str, after: str) -> tuple[str, str]:
    """Shorten two texts so that one still sees where they differ."""
    same = len(commonprefix([before, after]))
    start = 0 if max(len(before), len(after)) <= LEGIBLE else max(0, same - LEGIBLE // 4)
    return _excerpt(before, start), _excerpt(after, start)


def _excerpt(text: str, start: int) -> str:
    end = start + LEGIBLE
    return ("…" if start else "") + text[start:end] + ("…" if text[end:] else "")
