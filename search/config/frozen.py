"""The run file of a search that exists: what its study holds, written back as one may have typed it."""

from __future__ import annotations

from typing import Any

import yaml

from search.config.experiment import Experiment
from search_space import read_space, shipped_spaces


def run_file_of(experiment: Experiment, trials: int) -> str:
    """Write the run file, in YAML, that resolves to an equal experiment, for so many networks.

    Everything is spelled out: budgets as numbers, the whole recipe, and the space itself unless it is a shipped one.
    """
    data = experiment.data.model_dump(mode="json", exclude_defaults=True) | {"kind": experiment.data.kind}
    values: dict[str, Any] = {
        "space": _space(experiment),
        "data": data | {"size": "{}x{}".format(*experiment.data.size)},
        "objectives": list(experiment.objectives),
        "budgets": {"counted": experiment.counted, **experiment.budgets},
        **({} if experiment.latency is None else {"latency": {"device": experiment.latency.device}}),
        "proxy": experiment.proxy.stored(),
        "search": {"trials": trials, **experiment.search.model_dump(mode="json"), **_parents(experiment)},
    }
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    return text


def _parents(experiment: Experiment) -> dict[str, Any]:
    start = {} if experiment.start is None else {"start": experiment.start.place}
    first = {"first": [found.place for found in experiment.first]} if experiment.first else {}
    return {"inherit": "always" if experiment.inherit else "never", **start, **first}


def _space(experiment: Experiment) -> str | dict[str, Any]:
    name, space = experiment.space_name, experiment.space
    if name in shipped_spaces():
        shipped = read_space(name).replace(size=space.size, classes=space.classes, bands=space.bands)
        if shipped.fingerprint == space.fingerprint:
            return name
    return space.to_dict()
