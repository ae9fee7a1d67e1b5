"""The fingerprint that shows that all workers of a run have the same code and mean the same networks."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

import boostformer
from boostformer.errors import UserError
from search.config.opening import OpenExperiment

SAMPLES = 32


def code_of(opened: OpenExperiment) -> dict[str, Any]:
    """Return this code's version and a fingerprint of the space: some networks drawn at random, and their costs."""
    space = opened.experiment.space
    networks = [space.decode(row) for row in space.genes.sample(np.random.default_rng(0), SAMPLES)]
    costs = list(map(opened.table.cost, networks))
    rows = [(network.id, cost.params, cost.macs) for network, cost in zip(networks, costs, strict=True)]
    digest = hashlib.sha256(json.dumps([space.fingerprint, rows]).encode()).hexdigest()
    return {"version": boostformer.__version__, "fingerprint": digest[:12]}


def check_code(known: dict[str, Any], mine: dict[str, Any], source: str, *, any_version: bool = False) -> None:
    """Raise :class:`UserError` when a run belongs to other code than this, so that results would be mixed.

    Args:
        known: the run's code, as :func:`code_of` returned it.
        mine: this code, likewise.
        source: the run, for messages.
        any_version: whether another version is allowed, as long as the fingerprint is the same.
    """
    if known["version"] != mine["version"] and not any_version:
        raise UserError(
            f"{source}: the search runs with boostformer {known['version']}, this is {mine['version']}; "
            f"install {known['version']} here, or start the search again with this version"
        )
    if known["fingerprint"] != mine["fingerprint"]:
        raise UserError(
            f"{source}: to this code (boostformer {mine['version']}) the networks of the space are others, or cost "
            f"something else ({mine['fingerprint']}), than to the search's ({known['fingerprint']}); "
            "install the search's code here, or begin another search"
        )
