"""How a record is written down as a trial of the run's study.

Trials have none of Optuna's parameters: a database takes longer for some fifty of them than for all the rest, and what
a network is stands in its record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from boostformer.architecture import Architecture
from boostformer.figures import Latency
from evaluators.proxy import Score
from results.schema import Record
from search.config.problem import Problem
from search.study.state import LATENCY, SCORE, Job

STATES = {"finished": TrialState.COMPLETE, "failed": TrialState.FAIL, "running": TrialState.RUNNING}


def new_record(job: Job, iterations: int, arch: Architecture, problem: Problem, known: Mapping[str, Any]) -> Record:
    """Of a trial that begins; ``known`` is what earlier trials found out."""
    cost = problem.table.cost(arch)
    latency = latency_values(problem.latency.latency(arch)) if problem.latency is not None else {}
    values = {**known, **latency}
    return Record(
        trial=-1,
        id=arch.id,
        state="running",
        architecture=arch.to_dict(),
        params=cost.params,
        macs=cost.macs,
        conv_linear_macs=cost.conv_linear_macs,
        attention_macs=cost.attention_macs,
        feasible=problem.affords(arch, values.get("latency_ms")),
        seed=job.seed,
        rung=job.rung,
        iterations=iterations,
        **values,
    )


def trial_of(record: Record, problem: Problem, owner: str, reached: int = 0) -> FrozenTrial:
    """What creates the trial in one go: it exists with its owner, or not at all.

    ``reached``: after how many iterations those had saved their state who died at the same job.
    Constraints it has none: what is over budget never becomes a trial, or one that failed.
    """
    groups: dict[str, dict[str, Any]] = {"network": {"owner": owner} | ({"reached": reached} if reached else {})}
    for name, value in record.attributes().items():
        if value not in (None, ""):
            group = "latency" if name in LATENCY else "score" if name in SCORE else "network"
            groups.setdefault(group, {})[name] = value
    return create_trial(
        state=STATES[record.state],
        values=objectives(record, problem),
        user_attrs=groups,
    )


def objectives(record: Record, problem: Problem) -> list[float] | None:
    """The trial's values, once it is finished."""
    if record.state != "finished" or record.miou is None:
        return None
    return problem.values(_architecture(record), record.miou, record.latency_ms)


def score_values(score: Score) -> dict[str, Any]:
    return {"miou": score.miou, "seconds": score.seconds, "provenance": score.provenance}


def latency_values(latency: Latency) -> dict[str, Any]:
    values = (latency.ms, latency.figure.low, latency.figure.high, str(latency.provenance), latency.state)
    return dict(zip(LATENCY, values, strict=True))


def _architecture(record: Record) -> Architecture:
    return Architecture.from_dict(record.architecture)
