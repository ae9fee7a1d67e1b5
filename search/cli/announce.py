"""The announcement of a search: its space, budgets, data and trials, and what they will cost."""

from __future__ import annotations

from statistics import median

import numpy as np

from boostformer.architecture import Architecture
from boostformer.shown import number_of
from boostformer.training import TrainingFailure
from evaluators.costs.table import CostTable
from results.summary import human, limits
from results.trial import Trial
from search.config.opening import OpenExperiment
from search.strategies.base import BEST, YOUNGEST
from search.study.scheduler import Train
from search.study.state import Standing
from search.worker.accelerators import visible
from search.worker.progress import duration

ENOUGH = 3
"""Number of trials from which on their times tell more than measured steps."""


def announcement(opened: OpenExperiment, standing: Standing, workers: int = 1) -> str:
    """Describe the space, the budgets, the data and the trials in a few lines."""
    experiment, problem = opened.experiment, opened.problem
    data, search = experiment.data, experiment.search
    height, width = data.size
    counted = f" (of the {experiment.counted} network)" if experiment.budgets else ""
    left: int | str = max(0, standing.target - standing.concluded)
    if not left and isinstance(standing.step, Train) and standing.step.key.seed != experiment.proxy.seed:
        left = "further seeds of the front"
    done = f"{standing.concluded} done, {left} to do" if standing.history else f"{left} to do"
    networks, idle = f"{experiment.space.count:.3g} networks", ""
    if experiment.budgets:
        share = problem.share()
        networks += f", {_percent(share)} random draws fit"
        if share == 1 and (problem.latency is not None or "latency_ms" not in experiment.budgets):
            idle = "; they exclude nothing that a search would draw"
    lines = [
        ("space", f"{experiment.space_name}: {networks}"),
        ("budgets", limits(experiment.budgets) + counted + idle),
        (
            "data",
            f"{data.root or data.kind}: {experiment.images['training']} training and {experiment.images['validation']} "
            f"validation images at {height}x{width}, {number_of(len(experiment.labels), 'class')}",
        ),
        ("proxy", _trainings(opened, standing)),
        ("search", f"{search.strategy}, seed {search.seed}, for {', '.join(experiment.objectives)}: {done}"),
    ]
    if experiment.inherit:
        lines.append(("weights", _weights(opened)))
    if workers > 1:
        order = "so what is proposed depends on who ends first; --workers 1 repeats exactly"
        lines.append(("workers", f"{workers}, {order}"))
    if experiment.latency is not None:
        if problem.latency is None:
            about = "the cost below leaves out that each candidate is measured there"
        else:
            low, high = problem.latency.band
            about = f"expected between {low:.0%} and {high:.0%} of a figure"
        lines.insert(2, ("latency", f"'{experiment.latency.device}': {experiment.latency.provenance}; {about}"))
    return "\n".join(f"{name:<8} {text}" for name, text in lines)


def cost(opened: OpenExperiment, trials: list[Trial], standing: Standing, workers: int = 1) -> str | None:
    """Estimate how long the remaining trainings take, from those that ended or from some steps measured now.

    The number of promotions is known beforehand. Which networks will be on the front is not, so the time for further
    seeds is stated for each of them. A measured network that cannot be trained is reported: others may be trainable.

    Args:
        opened: the experiment.
        trials: of the run, so far.
        standing: how far the run is.
        workers: how many share the work.

    Returns:
        A line, or None when nothing is left.
    """
    left, seeds = _left(trials, standing), opened.experiment.search.final_seeds
    if standing.is_complete or (not any(left) and seeds == 1):
        return None
    then = ""
    try:
        paces = Paces(opened, trials)
        known = [paces.seconds(rung) for rung in range(len(left))]
        if seeds > 1:
            again = duration(paces.estimate(len(left) - 1, from_scratch=True))
            then = f", then {seeds - 1} times {again} for each network on the front"
    except TrainingFailure as failure:
        return f"{'cost':<8} unknown: {failure}"
    each = _listed([duration(seconds) for seconds in known])
    total = sum(seconds * count for seconds, count in zip(known, left, strict=True)) / max(1, workers)
    assumed = "" if paces.is_measured else _assumption(workers, total)
    sources = " and ".join(dict.fromkeys(paces.sources))
    return f"{'cost':<8} about {each} a training, {duration(total)} in all on this machine{then} ({sources}){assumed}"


class Paces:
    """The seconds that trainings of a run take: those that ended tell, and the others are estimated.

    An estimate measures a few steps of a network alone. Where trainings of another length have ended, it is scaled by
    how much longer these took than it says: workers beside each other slow each other down.

    Attributes:
        sources: where the figures that were asked for come from.
    """

    def __init__(self, opened: OpenExperiment, trials: list[Trial]) -> None:
        self._opened, self.sources = opened, list[str]()
        self._known: dict[int, list[float]] = {}
        for trial in trials:
            if trial.is_finished and trial.seconds:
                self._known.setdefault(trial.key.rung, []).append(trial.seconds)
        self._enough = {rung: median(known) for rung, known in self._known.items() if len(known) >= ENOUGH}

    @property
    def is_measured(self) -> bool:
        """Tell whether trainings of this run have shown how long they take."""
        return bool(self._enough)

    def seconds(self, rung: int) -> float:
        """Return the seconds of a training up to this rung; TrainingFailure when the memory does not suffice."""
        if rung in self._enough:
            self.sources.append(f"the median of {number_of(len(self._known[rung]), 'training')} so far")
            return self._enough[rung]
        return self.estimate(rung)

    def estimate(self, rung: int, *, from_scratch: bool = False) -> float:
        """Return the seconds of a training of which too few have ended."""
        proxy, network = self._opened.proxy, typical(self._opened)
        seconds = proxy.estimate_seconds(network, rung, from_scratch=from_scratch)
        source = "an estimate, from a few steps of a network of median MACs"
        if self._enough:
            other = max(self._enough)
            seconds *= self._enough[other] / proxy.estimate_seconds(network, other)
            source = "an estimate, from a few steps and from how long the trainings so far took"
        self.sources.append(source)
        return seconds


def _assumption(workers: int, total: float) -> str:
    """Say what an estimate of ``total`` seconds leaves out that was made by one training alone, for many workers."""
    devices = len(visible())
    if workers > devices > 0:
        turns = workers / devices
        where = "the card" if devices == 1 else f"one of {devices} cards"
        return (
            f"; measured alone on {where}, which {turns:.3g} workers share: if they take turns on it, up to "
            f"{turns:.3g} times as long, {duration(total * turns)}; the first trainings will tell"
        )
    if workers > 1:
        return f"; measured alone, {workers} workers beside each other take longer; the first trainings will tell"
    return ""


def _trainings(opened: OpenExperiment, standing: Standing) -> str:
    proxy, seeds = opened.experiment.proxy, opened.experiment.search.final_seeds
    first, *longer = zip(proxy.rungs, _most(standing), strict=False)
    begun = "from scratch"
    if opened.experiment.inherit:
        begun = "from the weights of the start and of one another"
        begun = begun if opened.experiment.start else "from one another's weights"
    text = f"{number_of(first[0], 'iteration')} of {number_of(proxy.batch_size, 'image')}, {begun}"
    if longer:
        further = [f"to {iterations} for up to {count}" for iterations, count in longer]
        text += f", for {number_of(first[1], 'network')}; carried on {_listed(further)} of them"
    if seeds > 1:
        text += f"; at the end {number_of(seeds, 'seed')} for each network on the front"
    return text


def _weights(opened: OpenExperiment) -> str:
    """Say what the networks begin from, and how much disk the weights take that are kept for them."""
    start, trained = opened.experiment.start, CostTable(deployed=False)
    largest = 4 * max(trained.cost(arch).params for arch in _drawn(opened))
    parents, mega = BEST + YOUNGEST, 1e-6 * largest
    each = f"some {mega:.2g} MB each, {parents * mega:.2g} MB and the front's"
    begun = ", with what these began from," if opened.experiment.search.final_seeds > 1 else ""
    kept = f"those of {parents} parents and of the front{begun} are kept, {each}"
    if start is None:
        return kept
    network = opened.experiment.start_network
    assert network is not None
    cost = opened.table.cost(network)
    found = f"{human('params', cost.params)} params, {human('macs', cost.macs)} MACs"
    return f"start from {start.place} ({found}); {kept}"


def _most(standing: Standing) -> list[int]:
    """Return the largest possible number of trainings on each rung, of the rungs that any network reaches."""
    return [count for count in standing.scheduler.most_trainings() if count]


def _left(trials: list[Trial], standing: Standing) -> list[int]:
    """Return the largest possible number of trainings left on each rung, of the rungs that any network reaches."""
    concluded: list[set[str]] = [set() for _ in standing.scheduler.rungs]
    for trial in trials:
        if trial.status.concludes:
            concluded[trial.key.rung].add(trial.id)
    return [max(0, count - len(done)) for count, done in zip(_most(standing), concluded, strict=False)]


def typical(opened: OpenExperiment) -> Architecture:
    """Draw a network of median MACs within the budgets."""
    candidates = sorted(_drawn(opened), key=lambda arch: opened.problem.table.cost(arch).macs)
    return candidates[len(candidates) // 2]


def _drawn(opened: OpenExperiment) -> list[Architecture]:
    """Draw some networks within the budgets."""
    rng, problem = np.random.default_rng(0), opened.problem
    return [problem.space.decode(problem.random(rng, ())) for _ in range(15)]


def _listed(items: list[str]) -> str:
    """Join as ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))


def _percent(share: float) -> str:
    if share in (0, 1):
        return "all" if share else "next to none of the"
    return f"about {100 * share:.0f} % of" if share > 0.1 else f"about {100 * share:.2g} % of"
