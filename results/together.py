"""Several runs side by side: one front of all their networks, if their scores can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostformer.errors import UserError, short
from results.fidelity import standing
from results.frames import as_frame, trial_rows
from results.pareto import comparable, non_dominated
from results.run import Run, read_run
from results.trial import Trial

if TYPE_CHECKING:
    import pandas

RUN = "run"
"""Name of the column that tells a trial's run."""
_SCORES = ("data", "labels", "images", "content", "counted", "inherit", "start.weights", "proxy")
"""What a run's configuration says of how a network's figures come about."""
_FREE = {"data.root", "proxy.seed", "proxy.threads"}
"""Of these, what may differ: figures are as comparable as those of one run with several seeds."""
_TIMES = ("latency.provenance",)


@dataclass(frozen=True)
class Runs:
    """Runs by name, whose figures can be compared."""

    runs: dict[str, Run]

    @property
    def objectives(self) -> list[str]:
        """Those that all runs have, in the order of the first."""
        first, *others = self.runs.values()
        return [name for name in first.objectives if all(name in other.objectives for other in others)]

    def members(self) -> list[tuple[str, Trial]]:
        """Return the front of all networks, each with its run's name, by params; each is feasible in its own run.

        Trainings of the same length are compared: the longest that all runs have.
        """
        objectives = self.objectives
        known = {name: comparable(run.trials, objectives) for name, run in self.runs.items()}
        top = min((max(trial.key.rung for trial in trials) for trials in known.values() if trials), default=0)
        networks = [
            (name, trial)
            for name, trials in known.items()
            for trial in standing([trial for trial in trials if trial.key.rung <= top])
            if trial.key.rung == top
        ]
        best = non_dominated([trial for _, trial in networks], objectives)
        chosen = [network for network, is_best in zip(networks, best, strict=True) if is_best]
        return sorted(chosen, key=lambda found: (found[1].params, found[1].number))

    def frame(self) -> pandas.DataFrame:
        """Return all trials of all runs as a frame: ``run``, then the columns of :func:`results.frames.trial_rows`."""
        return self._frame(self.members(), {name: run.trials for name, run in self.runs.items()})

    def front(self) -> pandas.DataFrame:
        """Return the front of all runs as a frame, with the same columns."""
        members = self.members()
        return self._frame(members, {name: [trial for own, trial in members if own == name] for name in self.runs})

    def _frame(self, members: list[tuple[str, Trial]], trials: Mapping[str, list[Trial]]) -> pandas.DataFrame:
        rows = [
            {RUN: name} | row
            for name, own in trials.items()
            for row in trial_rows(own, [trial for other, trial in members if other == name], self.runs[name].labels)
        ]
        return as_frame(rows, [RUN])


def load(*run_dirs: Path | str) -> Runs:
    """Read runs to look at them together, each named as it is given here.

    Raises :class:`UserError` when one cannot be read, or their figures cannot be compared: other data or classes,
    another recipe, other costs, or times of another device.
    """
    if not run_dirs:
        raise UserError("load: the folder of a run is needed")
    runs = {str(run_dir): read_run(run_dir) for run_dir in run_dirs}
    (name, first), *others = runs.items()
    found = Runs(runs)
    for other, run in others:
        keys = _SCORES + (_TIMES if "latency_ms" in found.objectives else ())
        if found_differing := next(_differences(first.config, run.config, keys), None):
            path, there, here = found_differing
            values = "" if path.startswith("content.") else f" ({short(there)} and {short(here)})"
            raise UserError(f"{other}: cannot be compared with {name}: their {path} differ{values}")
    return found


def _differences(one: Mapping[str, Any], other: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Yield path and both values where configurations differ under these keys."""
    flat = [dict(_flat(config)) for config in (one, other)]
    for path in flat[0] | flat[1]:
        asked = any(path == key or path.startswith(f"{key}.") for key in keys)
        values = [each.get(path) for each in flat]
        if asked and path not in _FREE and values[0] != values[1]:
            yield path, *values


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
