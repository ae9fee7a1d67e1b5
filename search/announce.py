"""What a search will do and what it will cost, said before it begins."""

from __future__ import annotations

from statistics import median

import numpy as np

from boostformer.training import TrainingFailure
from evaluators.budget import COUNTED
from evaluators.proxy import Proxy
from results.record import Record
from results.summary import human
from search.plan import Plan
from search.problem import Problem
from search.progress import duration
from search.store import Standing

ENOUGH = 3
"""So many trials that took their time already tell more than measured steps."""


def announcement(plan: Plan, problem: Problem, standing: Standing) -> str:
    """Some lines about the space, the budgets, the data and the trials."""
    height, width = plan.data.size
    limits = ", ".join(f"{name} at most {human(name, limit)}" for name, limit in plan.budget.limits)
    counted = f" (of the {COUNTED[not plan.deployed]} network)" if limits else ""
    left = standing.target - standing.concluded
    done = f"{standing.concluded} done, {left} to do" if standing.history else f"{left} to do"
    lines = [
        ("space", f"{plan.name}: {plan.space.count:.3g} networks, {_percent(problem.share())} of random draws fit"),
        ("budgets", (limits or "none") + counted),
        (
            "data",
            f"{plan.data.root or plan.data.kind}: {plan.images['training']} training and "
            f"{plan.images['validation']} validation images at {height}x{width}, {len(plan.labels)} classes",
        ),
        ("proxy", f"{plan.recipe.iterations} iterations of {plan.recipe.batch_size} images, from scratch"),
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


def cost(problem: Problem, proxy: Proxy, records: list[Record], left: int) -> str:
    """How long the trials that are left will take, from those that ended or from some steps measured now.

    When the network that is measured cannot be trained, says so: others in the space may well be.
    """
    known = [record.seconds for record in records if record.state == "finished" and record.seconds]
    if len(known) >= ENOUGH:
        each, source = median(known), f"the median of {len(known)} trials so far"
    else:
        rng = np.random.default_rng(0)
        candidates = [problem.random(rng, ()) for _ in range(15)]
        candidates.sort(key=lambda arch: problem.table.cost(arch).macs)
        try:
            each = proxy.estimate_seconds(candidates[len(candidates) // 2])
        except TrainingFailure as failure:
            return f"{'cost':<8} unknown: {failure}"
        source = "an estimate, from a few steps of a network of median MACs"
    return f"{'cost':<8} about {duration(each)} a trial, {duration(each * left)} in all on this machine ({source})"


def _percent(share: float) -> str:
    if share == 0:
        return "next to none"
    return f"about {100 * share:.0f} %" if share > 0.1 else f"about {100 * share:.2g} %"
