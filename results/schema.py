"""The stored form of a trial, which only this file knows.

A trial is kept in the run's Optuna study as user attributes. They are gathered into four groups, since a database
takes time for each: ``network`` when the trial begins, ``latency`` and ``score`` as soon as they are known, ``end``
when it is over. A study may have been written by others, so everything is checked when it is read.

For Optuna's own tools a trial also has parameters, intermediate values and constraints (:mod:`results.terms`), which
are written and never read.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.figures import Latency
from results.terms import Terms
from results.trial import COUNTED, START, Parent, Status, Trial, TrialKey, objective

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

FORMAT_VERSION = 4
"""Version of a stored study. 2 counts costs of the deployed network; 3 has rungs and seeds; 4 has statuses."""
NETWORK, LATENCY, SCORE, END = "network", "latency", "score", "end"
_WORKER = re.compile(r"(?!.{201})[\w-]*(\.[\w-]+)*", re.ASCII)  # becomes the name of a lock's file
_ID, _SHA256 = re.compile("[0-9a-f]{12}"), re.compile("[0-9a-f]{64}")


# Writing


def network_attribute(trial: Trial) -> tuple[str, dict[str, Any]]:
    """Return name and value of the attribute that a trial begins with."""
    return NETWORK, {
        "id": trial.key.arch_id,
        "rung": trial.key.rung,
        "seed": trial.key.seed,
        "iterations": trial.iterations,
        "architecture": trial.architecture,
        **{name: getattr(trial, name) for name in COUNTED},
        "feasible": trial.feasible,
        "owner": trial.owner,
        "reached": trial.reached,
        **({"parent": asdict(trial.parent)} if trial.parent is not None else {}),
        **({"activations": trial.activations} if trial.activations is not None else {}),
    }


def score_attribute(
    miou: float,
    seconds: float,
    provenance: str,
    weights: str | None = None,
    iou: Sequence[float | None] | None = None,
) -> tuple[str, dict[str, Any]]:
    """Return name and value of the attribute that keeps a score; the parameters are fields of :class:`Trial`."""
    kept: dict[str, Any] = {} if weights is None else {"weights": weights}
    if iou is not None:
        kept["iou"] = [None if value is None else round(value, 6) for value in iou]
    return SCORE, {"miou": miou, "seconds": seconds, "provenance": provenance} | kept


def latency_attribute(latency: Latency) -> tuple[str, dict[str, Any]]:
    """Return name and value of the attribute that keeps a latency."""
    return LATENCY, latency.to_dict()


def end_attribute(status: Status, reason: str | None, seconds: float | None = None) -> tuple[str, dict[str, Any]]:
    """Return name and value of the attribute that ends an unfinished trial."""
    return END, {"status": status.value, "reason": reason, "seconds": seconds}


def constraint_attributes(constraints: Mapping[str, float], name: str) -> dict[str, Any]:
    """Return Optuna's own attributes of a trial that keep the constraint of this ``name``, if it is known."""
    from optuna.trial import TrialState, create_trial

    known = {key: value for key, value in constraints.items() if key == name}
    return create_trial(state=TrialState.RUNNING, constraints=known).system_attrs


def frozen_trial(
    trial: Trial, objectives: Sequence[str], terms: Terms | None = None, earlier: Mapping[int, float] | None = None
) -> FrozenTrial:
    """Return the form in which a trial is created in its study in one step: with its owner, or not at all.

    Args:
        trial: as it stands.
        objectives: names.
        terms: what Optuna's tools are told besides; by default nothing.
        earlier: mIoU of the network's shorter trainings, by their iterations.
    """
    from optuna.trial import TrialState, create_trial

    groups = dict([network_attribute(trial)])
    if trial.latency is not None:
        groups |= [latency_attribute(trial.latency)]
    if trial.miou is not None and trial.seconds is not None:
        groups |= [score_attribute(trial.miou, trial.seconds, trial.provenance, trial.weights, trial.iou)]
    if trial.status not in (Status.RUNNING, Status.FINISHED) and not trial.abandoned:
        groups |= [end_attribute(trial.status, trial.reason, trial.seconds)]
    states = {Status.RUNNING: TrialState.RUNNING, Status.FINISHED: TrialState.COMPLETE}
    terms = terms or Terms()
    params, distributions = terms.params(trial)
    return create_trial(
        state=states.get(trial.status, TrialState.FAIL),
        values=stored_values(trial, objectives) if trial.is_finished else None,
        params=params,
        distributions=distributions,
        intermediate_values=dict(earlier or {}) | terms.intermediate_values(trial),
        constraints=terms.constraints(trial),
        user_attrs=groups,
    )


def stored_values(trial: Trial, objectives: Sequence[str]) -> list[float]:
    """Return the values that Optuna keeps of a finished trial, in natural units."""
    values = [objective(name).value(trial) for name in objectives]
    return [math.nan if value is None else float(value) for value in values]


# Reading


def read_trial(frozen: FrozenTrial, source: str) -> Trial | None:
    """Read a stored trial; None as long as it has no network yet, or where it is one that others added to the study.

    Args:
        frozen: the trial as Optuna returns it.
        source: the study, for messages.

    Raises:
        UserError: the stored trial is damaged.
    """
    groups = frozen.user_attrs
    where = f"{source}: trial {frozen.number}"
    if NETWORK not in groups:
        return None
    try:
        return _read(frozen.number, frozen.state.name, groups)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{where}: damaged ({type(error).__name__}: {error})") from None
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def key_of(frozen: FrozenTrial) -> TrialKey:
    """Tell which training a stored trial is, without reading all of it; none that there is when that is damaged."""
    network = frozen.user_attrs.get(NETWORK)
    found = network if isinstance(network, dict) else {}
    return TrialKey(found.get("id", ""), found.get("rung", 0), found.get("seed", 0))


def owner_of(frozen: FrozenTrial) -> str:
    """Name the worker that claimed a stored trial, without reading all of it; empty when that is damaged."""
    network = frozen.user_attrs.get(NETWORK)
    owner = network.get("owner") if isinstance(network, dict) else None
    return owner if isinstance(owner, str) and _WORKER.fullmatch(owner) else ""


def _read(number: int, state: str, groups: Mapping[str, Any]) -> Trial:
    network, score, end = groups[NETWORK], groups.get(SCORE, {}), groups.get(END, {})
    architecture = network["architecture"]
    if Architecture.from_dict(architecture).id != network["id"]:
        raise ValueError(f"the id {network['id']!r} is not the architecture's")
    if not _WORKER.fullmatch(network["owner"]):
        raise ValueError(f"{network['owner']!r} names no worker")
    if type(network["feasible"]) is not bool:
        raise ValueError(f"feasible is {network['feasible']!r}, true or false is needed")
    miou = _number(score, "miou", 1.0)
    # Whose score was lost, by damage of the journal, is to be scored again.
    lost = state == "COMPLETE" and miou is None
    counts: dict[str, Any] = {name: checked_count(network, name) for name in COUNTED}
    return Trial(
        number=number,
        key=TrialKey(network["id"], checked_count(network, "rung"), checked_count(network, "seed")),
        status=Status.INTERRUPTED if lost else _status(state, end),
        architecture=architecture,
        **counts,
        feasible=network["feasible"] and end.get("status") != Status.OVER_BUDGET,
        iterations=None if network["iterations"] is None else checked_count(network, "iterations"),
        miou=miou,
        seconds=_number(score if end.get("seconds") is None else end, "seconds"),
        provenance=str(score.get("provenance", "")),
        latency=Latency.from_dict(groups[LATENCY]) if LATENCY in groups else None,
        reason=None if end.get("reason") is None else str(end["reason"]),
        owner=network["owner"],
        reached=checked_count(network, "reached"),
        abandoned=state == "FAIL" and not end,
        parent=_parent(network["parent"]) if network.get("parent") is not None else None,
        weights=checked_digest(score["weights"]) if score.get("weights") is not None else None,
        iou=_shares(score["iou"]) if score.get("iou") is not None else None,
        activations=checked_count(network, "activations") if "activations" in network else None,
    )


def _parent(values: Mapping[str, Any]) -> Parent:
    if values["id"] != START and not _ID.fullmatch(values["id"]):
        raise ValueError(f"parent {values['id']!r} is neither a network's id nor {START!r}")
    return Parent(values["id"], checked_digest(values["weights"]), checked_count(values, "behind"))


def checked_digest(value: Any) -> str:
    """Give the SHA-256 that a study names; ValueError when it is none."""
    if not isinstance(value, str) or not _SHA256.fullmatch(value):  # becomes the name of a file
        raise ValueError(f"weights {value!r} are no SHA-256")
    return value


def _shares(values: Any) -> tuple[float | None, ...]:
    if not isinstance(values, list):
        raise ValueError(f"iou is {values!r}, a list is needed")
    return tuple(_number({"iou": value}, "iou", 1.0) for value in values)


def _status(state: str, end: Mapping[str, Any]) -> Status:
    if state == "COMPLETE":
        return Status.FINISHED
    if state in ("RUNNING", "WAITING"):
        return Status.RUNNING
    if not end:  # left behind by a worker that died
        return Status.INTERRUPTED
    status = Status(end["status"])
    if status in (Status.RUNNING, Status.FINISHED):
        raise ValueError(f"status is {status.value!r} of a trial that ended without a result")
    return status


def checked_count(values: Mapping[str, Any], name: str) -> int:
    """Give a count that a study holds by this name; ValueError when it is none, KeyError without it."""
    value = values[name]
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{name} is {value!r}, a count from 0 is needed")
    return value


def _number(values: Mapping[str, Any], name: str, high: float = sys.float_info.max) -> float | None:
    value = values.get(name)
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= high:
        raise ValueError(f"{name} is {value!r}, from 0 to {high:g} is allowed")
    return float(value)
