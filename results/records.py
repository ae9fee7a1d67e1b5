"""A run's study as a JSON document, from which it is made anew elsewhere; the form is in docs/runs.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostformer.errors import UserError
from results.run import NOTES, STUDY, check_study, stored_study
from results.schema import NETWORK, end_attribute
from results.trial import Status

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_WAS_RUNNING = "was running when the run was exported"
_FOREIGN = ("values", "system_attrs")
_TIMES = ("datetime_start", "datetime_complete")


def document_of(run_dir: Path) -> dict[str, Any]:
    """Return what the study of a run holds: ``study``, its attributes, and ``trials``, in the order of their numbers.

    A trial that is running is written as interrupted, to be repeated. Raises :class:`UserError` as
    :func:`results.run.read_run` does.
    """
    known, stored, source = stored_study(run_dir)
    check_study(known, source)
    attributes = {name: value for name, value in known.items() if name in STUDY or name.startswith(NOTES)}
    return {"study": attributes, "trials": [_record(frozen) for frozen in stored]}


def _record(frozen: FrozenTrial) -> dict[str, Any]:
    from optuna.distributions import distribution_to_json

    record: dict[str, Any] = {"state": frozen.state.name, "attributes": frozen.user_attrs}
    for name in _TIMES:
        moment = getattr(frozen, name)
        record[name] = None if moment is None else moment.isoformat()
    if NETWORK in frozen.user_attrs:
        if record["state"] == "RUNNING":
            name, end = end_attribute(Status.INTERRUPTED, _WAS_RUNNING)
            record |= {"state": "FAIL", "attributes": frozen.user_attrs | {name: end}}
        return record
    # One that others enqueued or added: a proposal, or nothing that this program knows.
    if record["state"] == "RUNNING":
        record["state"] = "FAIL"
    record |= {name: getattr(frozen, name) for name in _FOREIGN} | {"params": frozen.params}
    return record | {"distributions": {name: distribution_to_json(d) for name, d in frozen.distributions.items()}}


def read_document(document: object, source: str) -> tuple[dict[str, Any], list[FrozenTrial]]:
    """Read what :func:`document_of` wrote: the study's attributes and its trials, with numbers from 0.

    Trials of this program have their attributes alone; :func:`results.run.run_of` checks these. Raises
    :class:`UserError` when it is damaged; ``source`` names it.
    """
    try:
        known, records = document["study"], document["trials"]  # type: ignore[index]
        if not isinstance(known, dict) or not isinstance(records, list):
            raise TypeError("study and trials are needed")
        if unknown := [name for name in known if name not in STUDY and not name.startswith(NOTES)]:
            raise ValueError(f"study: unknown '{unknown[0]}'")
        trials = [_frozen(record, number) for number, record in enumerate(records)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{source}: damaged ({type(error).__name__}: {error})") from None
    check_study(known, source)
    return known, trials


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _frozen(record: Mapping[str, Any], number: int) -> FrozenTrial:
    from optuna.distributions import json_to_distribution
    from optuna.trial import FrozenTrial, TrialState

    attributes = record["attributes"]
    if not isinstance(attributes, dict):
        raise TypeError("attributes of a trial are needed")
    times = {name: None if record[name] is None else datetime.fromisoformat(record[name]) for name in _TIMES}
    is_ours = NETWORK in attributes
    params = {} if is_ours else dict(record["params"])
    distributions = {} if is_ours else {n: json_to_distribution(text) for n, text in record["distributions"].items()}
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=TrialState[record["state"]],
        value=None,
        values=None if is_ours or record["values"] is None else [_number(value) for value in record["values"]],
        params=params,
        distributions=distributions,
        user_attrs=attributes,
        system_attrs={} if is_ours else dict(record["system_attrs"]),
        intermediate_values={},
        **times,
    )
