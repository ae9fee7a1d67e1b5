"""`Experiment`: everything that decides what a search finds, resolved and frozen in its study.

Two searches with equal experiments are the same search. The number of networks to try is not part of it.
"""

from __future__ import annotations

import math
from importlib.metadata import version
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, PlainSerializer, ValidationError, field_validator

import boostformer
from boostformer.data.config import DataConfig
from boostformer.errors import UserError
from boostformer.yaml_models import worded
from evaluators.costs.budget import Budget
from results.schema import FORMAT_VERSION
from results.trial import COSTS, MIOU, OBJECTIVES
from search.config.sections import Counted, ProxyConfig, SearchConfig, Section
from search.config.timing import Timing
from search_space import SearchSpace, space_from_dict

PACKAGES = ("torch", "optuna", "numpy")


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
            if name not in COSTS or not 0 < limit < math.inf:
                raise ValueError(f"{name}: {limit} is no limit, allowed: positive ones of {', '.join(COSTS)}")
        return limits

    @property
    def budget(self) -> Budget:
        return Budget(tuple(self.budgets.items()))

    @property
    def is_deployed(self) -> bool:
        """Tell whether costs are counted of the folded network."""
        return self.counted == "deployed"

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


def difference(old: dict[str, Any], new: dict[str, Any], above: str = "") -> str | None:
    """Name the first key, in the order of ``old``, whose values differ: ``a.b is 1 there, 2 here``."""
    for key in [*old, *(key for key in new if key not in old)]:
        before, after, name = old.get(key), new.get(key), f"{above}{key}"
        if name in ("versions", "start.place") or before == after:
            continue
        if name == "space_name" and old["space"] == new["space"]:  # the same space by another path
            continue
        if name == "start.weights":
            return "the weights of the network that it starts from have changed since it began"
        if above == "content.":
            return f"the {key} images or masks have changed since it began"
        if isinstance(before, dict) and isinstance(after, dict):
            if found := difference(before, after, f"{name}."):
                return found
            continue
        return f"{name} is {_short(before)} there, {_short(after)} here"
    return None


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
