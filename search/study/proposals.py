"""Networks that people propose: trials which they enqueue or add through Optuna's own interface.

Such a trial names choices of the space, all or some (`study.enqueue_trial({"stages.0.width": 16})`). It stays as it
was added; its network is tried before the strategy is asked, once, as a trial of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from boostformer.architecture import Architecture
from boostformer.errors import nearest, short
from results.schema import NETWORK
from search.config.problem import Problem
from search_space.encoding import INACTIVE

FIXED = "fixed_params"
"""What Optuna calls the parameters of an enqueued trial."""
DRAWS = 256
"""So often what a proposal leaves open is drawn, until the network is within the budgets."""


class Proposals:
    """The proposals in a run's study, in the order of their trials; ``say`` is told which are passed over, and why."""

    def __init__(self, problem: Problem, say: Callable[[str], None]) -> None:
        self._problem, self._say = problem, say
        self._seen: set[int] = set()

    def next(self, stored: Sequence[FrozenTrial], known: Collection[str]) -> Architecture | None:
        """Give the first proposed network that is not among the ids of ``known`` ones, if there is any."""
        for frozen in stored:
            if frozen.number in self._seen or (asked := _asked(frozen)) is None:
                continue
            self._seen.add(frozen.number)
            try:
                arch = self._network(asked, frozen.number)
            except ValueError as error:
                self._say(f"the proposal in trial {frozen.number} is passed over: {error}")
                continue
            if arch.id not in known:
                return arch
        return None

    def _network(self, asked: Mapping[str, Any], number: int) -> Architecture:
        """Complete a proposal, in the same way in every worker; ValueError when no network within the budgets does."""
        genes = self._problem.genes
        fixed = self._fixed(asked)
        rng = np.random.default_rng(number)
        for _ in range(DRAWS):
            row: list[int] = []
            for column, (size, parent) in enumerate(zip(genes.sizes, genes.parents, strict=True)):
                drawn = int(rng.integers(size))
                active = parent is None or row[parent[0]] == parent[1]
                row.append(fixed.get(column, drawn) if active else INACTIVE)
            arch = self._problem.space.decode(row)
            if self._problem.affords(arch):
                return arch
            if len(fixed) == len(row):
                break
        raise ValueError("no such network was found within the budgets")

    def _fixed(self, asked: Mapping[str, Any]) -> dict[int, int]:
        """Read which gene a proposal asks for in which column; ValueError for what is no choice of the space."""
        genes = self._problem.genes
        columns = {choice.name: column for column, choice in enumerate(genes.choices)}
        fixed: dict[int, int] = {}
        for name, value in asked.items():
            if name not in columns:
                raise ValueError(f"'{name}' is no choice of the space; {nearest(name, columns)}")
            values = genes.choices[columns[name]].values
            alike = [i for i, v in enumerate(values) if v == value and isinstance(v, bool) == isinstance(value, bool)]
            if not alike:
                raise ValueError(f"{name} is {short(value)}; {nearest(value, values)}")
            fixed[columns[name]] = alike[0]
        for column in list(fixed):
            parent = genes.parents[column]
            if parent is not None and fixed.setdefault(*parent) != parent[1]:
                choice = genes.choices[column]
                raise ValueError(f"{choice.name} is of another block than {genes.choices[parent[0]].name} asks for")
        return fixed


def _asked(frozen: FrozenTrial) -> Mapping[str, Any] | None:
    """Read the parameters of a trial that this program did not make; None of one that it made, or that is going on."""
    if NETWORK in frozen.user_attrs or frozen.state not in (TrialState.WAITING, TrialState.COMPLETE):
        return None
    fixed = frozen.system_attrs.get(FIXED)
    return {**(fixed if isinstance(fixed, dict) else {}), **frozen.params}
