"""What a search will do and what it will cost, said before it begins."""

from __future__ import annotations

from statistics import median

import numpy as np

from boostformer.architecture import Architecture
from boostformer.training import TrainingFailure
from evaluators.costs.budget import COUNTED
from evaluators.proxy import Proxy
from results.schema import Record
from results.storage.location import INTERRUPTED
from results.summary import human
from search.config.experiment import Plan
from search.config.problem import Problem
from search.study.scheduler import most_trainings
from search.study.state import REJECTED, WAITING, Standing
from search.worker.progress import duration

ENOUGH = 3
"""So many trials that took their time already tell more than measured steps."""


def announcement(plan: Plan, problem: Problem, standing: Standing) -> str:
    """Some lines about the space, the budgets, the data and the trials."""
    height, width = plan.data.size
    limits = ", ".join(f"{name} at most {human(name, limit)}" for name, limit in plan.budget.limits)
    counted = f" (of the {COUNTED[not plan.deployed]} network)" if limits else ""
    left: int | str = max(0, standing.target - standing.concluded)
    if not left and standing.step.do == "train" and standing.step.seed != plan.recipe.seed:
        left = "further seeds of the front"
    done = f"{standing.concluded} done, {left} to do" if standing.history else f"{left} to do"
    lines = [
        ("space", f"{plan.name}: {plan.space.count:.3g} networks, {_percent(problem.share())} of random draws fit"),
        ("budgets", (limits or "none") + counted),
        (
            "data",
            f"{plan.data.root or plan.data.kind}: {plan.images['training']} training and "
            f"{plan.images['validation']} validation images at {height}x{width}, {len(plan.labels)} classes",
        ),
        ("proxy", _trainings(plan, standing)),
        ("search", f"{plan.strategy}, seed {plan.seed}, for {', '.join(plan.objectives)}: {done}"),
    ]
    if plan.timing is not None:
        if problem.latency is None:
            about = "the cost below leaves out that each candidate is measured there"
        else:
            low, high = problem.latency.band
            about = f"expected between {low:.0%} and {high:.0%} of a figure"
        lines.insert(2, ("latency", f"'{plan.timing.device}': {plan.timing.provenance}; {about}"))
    return "\n".join(f"{name:<8} {text}" for name, text in lines)


def cost(plan: Plan, problem: Problem, proxy: Proxy, records: list[Record], standing: Standing) -> str | None:
    """How long the trainings that are left will take, from those that ended or from some steps measured now.

    How many are promoted is known before, who is on the front is not: further seeds are told for each network there.
    None when nothing is left. When the network that is measured cannot be trained, says so: others in the space may
    well be.
    """
    left = _left(records, standing)
    if not any(left) and plan.final_seeds == 1:
        return None
    then = ""
    try:
        known = [_seconds(problem, proxy, records, rung) for rung in range(len(left))]
        if plan.final_seeds > 1:
            again = proxy.estimate_seconds(_typical(problem), len(left) - 1, from_scratch=True)
            then = f", then {plan.final_seeds - 1} times {duration(again)} for each network on the front"
    except TrainingFailure as failure:
        return f"{'cost':<8} unknown: {failure}"
    each = _listed([duration(seconds) for seconds, _ in known])
    total = duration(sum(seconds * count for (seconds, _), count in zip(known, left, strict=True)))
    sources = " and ".join(dict.fromkeys(source for _, source in known))
    return f"{'cost':<8} about {each} a trial, {total} in all on this machine{then} ({sources})"


def _trainings(plan: Plan, standing: Standing) -> str:
    first, *longer = zip(plan.rungs, _most(standing), strict=False)
    text = f"{first[0]} iterations of {plan.recipe.batch_size} images, from scratch"
    if longer:
        further = [f"to {iterations} for up to {count}" for iterations, count in longer]
        text += f", for {first[1]} networks; carried on {_listed(further)} of them"
    if plan.final_seeds > 1:
        text += f"; at the end {plan.final_seeds} seeds for each network on the front"
    return text


def _most(standing: Standing) -> list[int]:
    """How many trainings there will be at most, of the rungs that any network comes to."""
    return [count for count in most_trainings(standing.ladder) if count]


def _left(records: list[Record], standing: Standing) -> list[int]:
    """How many networks are still to be trained at most, of the rungs that any comes to."""
    concluded: list[set[str]] = [set() for _ in standing.ladder.lengths]
    for record in records:
        reason = record.failure or ""
        again = reason == INTERRUPTED or reason.startswith((WAITING, REJECTED))
        if record.state != "running" and not again:
            concluded[record.rung].add(record.id)
    return [max(0, count - len(done)) for count, done in zip(_most(standing), concluded, strict=False)]


def _seconds(problem: Problem, proxy: Proxy, records: list[Record], rung: int) -> tuple[float, str]:
    """What a training takes, and where that is known from."""
    known = [r.seconds for r in records if r.state == "finished" and r.rung == rung and r.seconds]
    if len(known) >= ENOUGH:
        return median(known), f"the median of {len(known)} trials so far"
    return proxy.estimate_seconds(_typical(problem), rung), "an estimate, from a few steps of a network of median MACs"


def _typical(problem: Problem) -> Architecture:
    rng = np.random.default_rng(0)
    candidates = [problem.space.decode(problem.random(rng, ())) for _ in range(15)]
    candidates.sort(key=lambda arch: problem.table.cost(arch).macs)
    return candidates[len(candidates) // 2]


def _listed(items: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))


def _percent(share: float) -> str:
    if share == 0:
        return "next to none"
    return f"about {100 * share:.0f} %" if share > 0.1 else f"about {100 * share:.2g} %"
