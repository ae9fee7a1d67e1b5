"""The sections of a run file as typed models: every key, its type and its default stand here, once."""

from __future__ import annotations

from typing import Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from boostformer import presets, recipes
from boostformer.data.config import DataConfig
from boostformer.errors import nearest
from boostformer.training.recipes import Recipe
from results.trial import LIMITABLE, MIOU, OBJECTIVES, START
from search.config.limits import Limit

PROXY = "proxy"
"""Name of the recipe that gives what the run file's ``proxy`` leaves open."""
Strategy = Literal["surrogate", "tpe", "nsga2", "evolution", "random"]
"""The registered strategies; their classes stand in :mod:`search.strategies`."""
Inherit = Literal["auto", "always", "never"]
"""Whether networks begin from trained weights; ``auto`` is yes when the search has a start, and no otherwise."""
Counted = Literal["deployed", "trained"]
"""The network whose costs are meant: the folded one, or the one that is trained."""


class Section(BaseModel):
    """A part of a run file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SearchConfig(Section):
    """How networks are searched for.

    Of the networks that were trained up to one rung, one in ``reduction_factor`` is trained up to the next; those on
    the front are trained with ``final_seeds`` seeds in all. ``screen`` is how many networks are seen for some
    steps of training as a search with a start begins, None as many as take little of its time.
    """

    strategy: Strategy = "surrogate"
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    reduction_factor: int = Field(default=3, ge=2)
    final_seeds: int = Field(default=1, ge=1)
    screen: int | None = Field(default=None, ge=0, le=10**6)


class RunSearchConfig(SearchConfig):
    """The same in a run file, which also says how many networks are tried, and what they begin from.

    ``start`` is a checkpoint of ours or of transformers, in a folder or on the hub: the first parent. ``first`` names
    networks that are proposed before all others, ``hours`` the time that the search may take over all sittings.
    """

    trials: int = Field(default=60, ge=1)
    hours: float | None = Field(default=None, gt=0, le=1e6)
    first: tuple[str, ...] = ()
    start: str | None = None
    inherit: Inherit = "auto"

    @model_validator(mode="after")
    def _parents(self) -> RunSearchConfig:
        if self.start is not None and self.inherit == "never":
            _refuse(
                "inherit",
                self.inherit,
                "'never' leaves nothing for `start` to be inherited by; allowed beside it: auto, always",
            )
        if self.start is None and self.screen:
            _refuse(
                "screen",
                self.screen,
                f"{self.screen}: there is no `start` for networks to inherit from; allowed without it: 0",
            )
        return self

    @property
    def inherits(self) -> bool:
        """Tell whether networks begin from the weights of others."""
        return self.inherit == "always" or (self.inherit == "auto" and self.start is not None)

    def of_experiment(self) -> SearchConfig:
        """Give what decides what a search finds, but for what networks begin from."""
        return SearchConfig(**self.model_dump(include=set(SearchConfig.model_fields)))


class LatencyConfig(Section):
    """Where ``latency_ms`` is had: a device of ``devices.yaml`` or a shipped one."""

    device: str


class ProxyConfig(Recipe):
    """The short training that scores a network: a recipe whose ``iterations`` may be several, one for each rung.

    What is left open is the recipe :data:`PROXY` 's; ``rungs`` are all lengths, ``iterations`` the first of them. A
    training that takes more than ``minutes`` has failed.
    """

    rungs: tuple[int, ...] = Field(default=(), exclude=True)
    minutes: float | None = Field(default=None, gt=0, le=1e6)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        if given is None:
            given = {}
        if not isinstance(given, dict):
            return given
        if "rungs" in given:
            _refuse("rungs", given["rungs"], "extra_forbidden")
        if given.get("threads", 1) is None:
            _refuse("threads", None, "must be a number: all trainings of a search use as many")
        rungs = _rungs(given["iterations"]) if "iterations" in given else (recipes.load(PROXY).iterations,)
        changes = {key: value for key, value in given.items() if key != "minutes"} | {"iterations": rungs[0]}
        if len(rungs) > 1 and changes.setdefault("schedule", "wsd") != "wsd":  # only this one can go on for longer
            _refuse("schedule", given["schedule"], f"'{given['schedule']}' ends for good, several rungs need 'wsd'")
        own = {"rungs": rungs, "minutes": given.get("minutes")}
        return recipes.load(PROXY, **changes).model_dump() | own

    def _check_watching(self) -> None:
        if self.validate_every or self.patience is not None:
            raise ValueError("validate_every, patience: a search's trainings are scored at their end alone")

    def recipe(self, **changes: Any) -> Recipe:
        """Give the training's recipe on the first rung, with ``changes``."""
        return Recipe(**(self.model_dump(exclude={"rungs", "minutes"}) | changes))

    def stored(self) -> dict[str, Any]:
        """Give plain values from which an equal configuration is read."""
        return self.model_dump(mode="json") | ({"iterations": list(self.rungs)} if len(self.rungs) > 1 else {})


class BudgetsConfig(Section):
    """Hard upper limits on costs, absolute or as a share of a ``baseline`` 's: a preset, or the search's ``start``.

    ``counted`` says of which network the costs are counted, in budgets and objectives: the folded or the trained one.
    """

    baseline: str | None = None
    counted: Counted = "deployed"
    limits: dict[str, Limit] = Field(default={}, exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        found = {key: value for key, value in given.items() if key in ("baseline", "counted")}
        limits = {}
        for key in given:
            if key not in (*found, *LIMITABLE):
                _refuse(key, given[key], f"unknown budget; {nearest(key, ('baseline', 'counted', *LIMITABLE))}")
        for key in LIMITABLE:  # always in this order
            if key in given:
                try:
                    limits[key] = Limit.read(key, given[key])
                except ValueError as error:
                    _refuse(key, given[key], str(error))
                if limits[key].is_share and given.get("baseline") is None:
                    share = (
                        f"{given[key]!r} is a share, which needs `baseline` with a preset's name beside it, or start"
                    )
                    _refuse(key, given[key], share)
        return found | {"limits": limits}

    @field_validator("baseline")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name not in (None, START, *presets.names()):
            raise ValueError(f"unknown preset '{name}'; {nearest(str(name), [START, *presets.names()])}")
        return name

    @model_validator(mode="after")
    def _limiting(self) -> BudgetsConfig:
        if self.baseline is not None and not self.limits:
            raise ValueError(f"a baseline alone limits nothing; add {' or '.join(LIMITABLE)}")
        return self


class RunConfig(Section):
    """A run file. ``space`` is a shipped space's name, a file, or a space itself."""

    space: str | dict[str, Any]
    data: DataConfig = DataConfig()
    objectives: list[str] = [MIOU, "macs", "params"]
    budgets: BudgetsConfig = BudgetsConfig()
    latency: LatencyConfig | None = None
    proxy: ProxyConfig = Field(default_factory=lambda: ProxyConfig.model_validate({}))
    search: RunSearchConfig = RunSearchConfig()

    @model_validator(mode="before")
    @classmethod
    def _falling_at_the_end(cls, given: Any) -> Any:
        """Networks that inherit are trained at a rate that stays and falls at the end, unless another is asked for.

        A lineage so gains more with each generation (docs/results/inheritance.md).
        """
        if not isinstance(given, dict):
            return given
        search, proxy = given.get("search") or {}, given.get("proxy") or {}
        if not (isinstance(search, dict) and isinstance(proxy, dict)) or "schedule" in proxy:
            return given
        inherit = search.get("inherit", "auto")
        if inherit == "always" or (inherit == "auto" and search.get("start") is not None):
            return given | {"proxy": {"schedule": "wsd"} | proxy}
        return given

    @field_validator("objectives")
    @classmethod
    def _objectives(cls, names: list[str]) -> list[str]:
        for i, name in enumerate(names):
            if name not in OBJECTIVES:
                _refuse(i, name, f"unknown objective '{name}'; {nearest(name, OBJECTIVES)}")
            if name in names[:i]:
                _refuse(i, name, f"'{name}' is listed twice")
        if MIOU not in names:
            raise ValueError(f"'{MIOU}' must be among them: it is what the proxy training measures")
        return names

    @model_validator(mode="after")
    def _baseline(self) -> RunConfig:
        if self.budgets.baseline == START and self.search.start is None:
            _refuse(
                "budgets", START, "the baseline start needs `search: {start: CKPT}`, the trained network that is meant"
            )
        return self

    @model_validator(mode="after")
    def _device(self) -> RunConfig:
        asking = {"objectives": "latency_ms" in self.objectives, "budgets": "latency_ms" in self.budgets.limits}
        if any(asking.values()) and self.latency is None:
            where = next(key for key, asks in asking.items() if asks)
            device = "latency_ms needs a device; add `latency: {device: NAME}` (`boostformer latency devices`)"
            _refuse(where, None, device)
        if self.latency is not None and not any(asking.values()):
            _refuse("latency", None, "neither objectives nor budgets name latency_ms")
        return self


def _rungs(value: Any) -> tuple[int, ...]:
    """Read ``proxy.iterations``: one number, or several that grow."""
    listed = value if isinstance(value, list | tuple) else [value]
    for item in listed:
        if type(item) is not int:
            _refuse("iterations", value, f"{item!r} is not a whole number")
    if not listed or any(after <= before for before, after in zip(listed, listed[1:], strict=False)):
        _refuse("iterations", value, f"{list(listed)} must grow from one rung to the next, such as [100, 300, 900]")
    return tuple(listed)


def _refuse(key: str | int, value: Any, problem: str) -> NoReturn:
    """Raise pydantic's error for one key of the section that is being validated."""
    kind, context = ("value_error", {"error": ValueError(problem)}) if problem != "extra_forbidden" else (problem, {})
    raise ValidationError.from_exception_data("run", [{"type": kind, "loc": (key,), "input": value, "ctx": context}])
