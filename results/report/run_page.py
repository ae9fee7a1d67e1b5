"""The document of a run: what the page shows, in its order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from boostformer.shown import number_of
from results.pareto import front
from results.report.card import Card, ranked
from results.report.circumstances import (
    data_card,
    failures_card,
    latency_card,
    predictions_card,
    setup_card,
    tiles_of,
)
from results.report.found import front_card, networks_card
from results.report.learnt import choices_card, progress_card, trust_card
from results.report.rows import table_of
from results.run import Run
from results.summary import limits


@dataclass(frozen=True)
class Beside:
    """What a page shows beside the run itself.

    Attributes:
        place: the run's folder as a shell reads it, for commands.
        made: when and by what the page was made.
        at_random: how many of the first networks were drawn at random.
        against: another run to hold beside it, with its name.
        data: what is known of the data, as the run keeps it.
        samples: pictures of the data, each with ``name``, ``image`` and ``alt``.
        remark: why there are no pictures.
        predictions: what trained networks see; see :func:`results.report.circumstances.predictions_card`.
    """

    place: str
    made: str = ""
    at_random: int = 0
    against: tuple[str, Run] | None = None
    data: Mapping[str, Any] | None = None
    samples: Sequence[Mapping[str, Any]] = ()
    remark: str = ""
    predictions: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Now:
    """What a running search is at.

    Attributes:
        running: of each training its ``number``, ``id``, iterations ``done`` of ``total``, and ``loss`` as pairs.
        latest: lines of what ended last.
    """

    running: Sequence[Mapping[str, Any]] = field(default_factory=list)
    latest: Sequence[str] = ()

    def card(self) -> Card:
        many = len(self.running)
        told = (
            f"{number_of(many, 'training')} {'is' if many == 1 else 'are'} running." if many else "Nothing is running."
        )
        return Card("now", "Now", told, {"running": list(self.running), "latest": list(self.latest)})


def run_document(run: Run, name: str, beside: Beside, now: Now | None = None) -> dict[str, Any]:
    """Gather what the page of a run shows.

    Args:
        run: the run.
        name: its folder's.
        beside: what it does not know itself.
        now: what it is at, where the page is to follow it.
    """
    members = front(run.trials, run.objectives)
    cards = [
        front_card(run, members),
        networks_card(run, beside.place),
        choices_card(run),
        progress_card(run, beside.at_random, beside.against),
        trust_card(run),
        predictions_card(beside.predictions),
        failures_card(run),
        latency_card(run),
        data_card(beside.data, run.config.get("labels") or [], beside.samples, beside.remark),
        setup_card(run, beside.place, beside.made),
    ]
    return {
        "title": f"Search {name}",
        "about": f"Objectives: {', '.join(run.objectives)}. Budgets: {limits(run.budgets)}.",
        "tiles": tiles_of(run, members),
        "trials": table_of(run, members),
        "cards": ([now.card().to_dict()] if now else []) + ranked(cards),
        "live": now is not None,
    }
