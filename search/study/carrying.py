"""Carrying over: what other runs have found enters a new one before its first proposal, at no cost.

Scores count where data, recipe and what trainings begin from are the same; space, budgets, objectives, devices and
seeds may be others. Of other runs the trained weights alone may serve, for networks to begin from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.files import located
from results.known import Ancestor, Known, Source
from results.run import read_run
from results.summary import human
from results.trial import Status, Trial, TrialKey
from search.config.experiment import Experiment, difference
from search.config.opening import OpenExperiment
from search.study.carried import Carried
from search.study.claim import new_trial
from search.study.fingerprint import check_code, code_of
from search.study.folder import read_code, read_frozen
from search.study.weights import Weights

_NO_MATTER = ("seed", "save_every", "workers", "minutes")
"""Settings of a recipe that a score does not depend on, the noise of its seed apart."""


def carry_over(runs: Sequence[Path], opened: OpenExperiment, *, as_parents: bool = False) -> Carried:
    """Read other runs for a new one; of a network that several know the first one's result counts.

    Args:
        runs: their folders.
        opened: the new run's experiment.
        as_parents: whether only their weights serve, whatever their data and recipe.

    Raises:
        UserError: one is no run, was made with other data, another recipe or other code, or has no weights to serve.
    """
    if as_parents and not opened.experiment.inherit:
        raise UserError(
            "--as-parents: the networks of this search begin from random weights; `search: {inherit: always}`"
        )
    read = _parents_of if as_parents else _results_of
    found = [read(run, opened) for run in runs]
    trials = {trial.key: trial for each in reversed(found) for trial in each.trials}
    ordered = [trial for each in found for trial in each.trials if trials[trial.key] is trial]
    return Carried(
        Known(
            tuple(source for each in found for source in each.known.sources),
            frozenset(id for each in found for id in each.known.ids),
            tuple({a.weights: a for each in found for a in each.known.ancestors}.values()),
        ),
        tuple(ordered),
        {digest: weights for each in found for digest, weights in each.stores.items()},
    )


# Results


def _results_of(run_dir: Path, opened: OpenExperiment) -> Carried:
    place, here = str(located(run_dir)), opened.experiment
    there = read_frozen(run_dir)[0]
    if differs := _difference(there, here):
        raise UserError(
            f"--from {run_dir}: its scores do not count here: {differs}; --as-parents takes its weights alone"
        )
    check_code(read_code(run_dir), code_of(OpenExperiment(there)), str(run_dir), any_version=True)
    trials = _comparable(read_run(run_dir).trials, there, here)
    entered = [_entered(trial, place, opened) for trial in trials if _inside(trial, opened)]
    first = {trial.id: trial for trial in entered if trial.key == TrialKey(trial.id, 0, here.proxy.seed)}
    entered = [trial for trial in entered if trial.id in first]
    fitting = sum(trial.feasible for trial in first.values())
    source = Source(place, len({trial.id for trial in trials}), len(first), fitting)
    ids = frozenset(id for id, trial in first.items() if trial.status is not Status.OVER_BUDGET)
    weights = Weights.of(run_dir)
    stores = {trial.weights: weights for trial in entered if trial.weights is not None and trial.weights in weights}
    return Carried(Known((source,), ids), tuple(entered), stores)


def _difference(there: Experiment, here: Experiment) -> str | None:
    """Name the first thing that makes the scores of two runs not comparable."""
    if there.labels == here.labels and there.images == here.images and there.content != here.content:
        return "its training or validation images or masks are others"
    if differs := difference(_of_scores(there), _of_scores(here)):
        return differs
    if there.inherit and not here.inherit:
        return "search.inherit is always there, never here"
    if there.start is not None and (here.start is None or here.start.weights != there.start.weights):
        return "search.start is another network there"
    if there.proxy.rungs[0] != here.proxy.rungs[0]:
        return f"proxy.iterations is {there.proxy.rungs[0]} there, {here.proxy.rungs[0]} here"
    if (seed := there.proxy.seed) in _seeds(here)[1:]:
        return f"proxy.seed {seed} is one of the further seeds here; proxy.seed: {seed} here, too"
    return None


def _of_scores(experiment: Experiment) -> dict[str, Any]:
    """Give all of an experiment that a score depends on, but what trainings begin from, their lengths and seeds."""
    values = experiment.to_dict()
    recipe = {key: value for key, value in values["proxy"].items() if key not in (*_NO_MATTER, "iterations")}
    data = {key: value for key, value in values["data"].items() if key != "root"}
    return {"data": data, "labels": values["labels"], "images": values["images"], "proxy": recipe}


def _comparable(trials: Sequence[Trial], there: Experiment, here: Experiment) -> list[Trial]:
    """List the finished trainings that may have been this run's, with the keys that they have in it.

    Of another seed they are those that every network begins with.
    """
    pairs = zip(there.proxy.rungs, here.proxy.rungs, strict=False)
    rungs = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
    seeds = range(here.proxy.seed, here.proxy.seed + here.search.final_seeds)
    if there.proxy.seed != here.proxy.seed:
        seeds = range(there.proxy.seed, there.proxy.seed + 1)
    finished = [trial for trial in trials if trial.is_finished and trial.miou is not None]
    return [trial for trial in finished if trial.key.rung < rungs and trial.key.seed in seeds]


def _inside(trial: Trial, opened: OpenExperiment) -> bool:
    return Architecture.from_dict(trial.architecture) in opened.experiment.space


def _entered(found: Trial, place: str, opened: OpenExperiment) -> Trial:
    """Give a training of another run as it stands in the new one: costs, latency and feasibility are the new run's.

    One whose latency has to be measured first is left to be repeated, which it is without a training.
    """
    experiment, problem = opened.experiment, opened.problem
    arch, seed = Architecture.from_dict(found.architecture), experiment.proxy.seed
    key = found.key if found.key.seed in _seeds(experiment) else replace(found.key, seed=seed)
    timing, measured = experiment.latency, found.latency
    if timing is None or measured is None or measured.provenance != timing.provenance:
        measured = None
    trial = replace(
        new_trial(key, experiment.proxy.rungs[key.rung], arch, problem, measured, found.parent),
        status=Status.FINISHED,
        miou=found.miou,
        seconds=found.seconds,
        provenance=f"{found.provenance}, known from {place}:{found.number}"
        + ("" if key == found.key else f" (seed {found.key.seed})"),
        weights=found.weights,
    )
    limit = experiment.budgets.get("latency_ms")
    if timing is not None and trial.latency is None:
        return replace(trial, status=Status.INTERRUPTED, reason=f"known from {place}, to be measured here")
    if problem.latency is None and limit is not None and trial.latency_ms is not None and trial.latency_ms > limit:
        why = f"{human('latency_ms', trial.latency_ms)} of {human('latency_ms', limit)}"
        return replace(trial, status=Status.OVER_BUDGET, reason=why)
    return trial


def _seeds(experiment: Experiment) -> range:
    return range(experiment.proxy.seed, experiment.proxy.seed + experiment.search.final_seeds)


# Weights alone


def _parents_of(run_dir: Path, opened: OpenExperiment) -> Carried:
    place, there = str(located(run_dir)), read_frozen(run_dir)[0]
    if there.space.bands != opened.experiment.space.bands:
        raise UserError(
            f"--from {run_dir}: its networks read {there.space.bands} bands, those of this search "
            f"{opened.experiment.space.bands}"
        )
    weights = Weights.of(run_dir)
    finished = [trial for trial in read_run(run_dir).trials if trial.is_finished]
    found = {
        trial.weights: Ancestor(trial.id, trial.weights, trial.behind, trial.architecture, there.labels)
        for trial in finished
        if trial.weights is not None and trial.weights in weights
    }
    if not found:
        raise UserError(
            f"--from {run_dir}: keeps no trained weights to begin from; a search with `inherit: always` keeps them"
        )
    networks = len({trial.id for trial in finished})
    source = Source(place, networks, len(found), len(found), as_parents=True)
    return Carried(Known((source,), ancestors=tuple(found.values())), (), dict.fromkeys(found, weights))
