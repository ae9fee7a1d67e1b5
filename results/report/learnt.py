"""Cards of what a search taught: which choices matter, how it got on, and how far its ranking can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from boostformer.shown import number_of
from results.agreement import trust, trust_lines
from results.fidelity import standing
from results.hypervolume import growth, in_random_order
from results.importance import ENOUGH, Findings, importances
from results.pareto import minimised
from results.report.card import Card, duration, share
from results.report.rows import first_trainings, known, level_of, slots_of
from results.run import Run
from results.trial import MIOU, Trial

MOST_ORDERED = 300
"""More networks are not put into random orders: that would take longer than all the rest."""
_UNTOLD = 0.1
"""A model that explains less of the networks it has not seen says nothing of choices."""
_PARTS = {"stem": "stem", "fusion": "fusion of the decoder", "width": "width of the decoder"}


def choices_card(run: Run) -> Card | None:
    """Tell which choices matter; None where too little is known for any model."""
    trained = first_trainings(run.trials)
    choices = [{name: level_of(value) for name, value in slots_of(trial.architecture)} for trial in trained]
    own = [trial.behind - (trial.iterations or 0) for trial in trained]
    found = importances(choices, [trial.miou or 0.0 for trial in trained], own)
    if not found.importances:
        if found.networks >= ENOUGH or not found.networks:
            return None
        few = f"Not known yet: {number_of(found.networks, 'network', ',')} so far, and at least {ENOUGH} are needed."
        return Card("choices", "Which choices matter", few)
    content = {
        "explained": found.explained,
        "importances": [
            {
                "choice": one.choice,
                "name": named(one.choice),
                "share": [one.share, one.low, one.high],
                "chance": one.chance,
                "matters": one.matters,
                "effects": [[e.value, e.networks, e.gain, e.low, e.high] for e in one.effects],
            }
            for one in found.importances
        ],
    }
    return Card("choices", "Which choices matter", _told_choices(found), content, _CHOICES)


_CHOICES = (
    "A linear model adds one effect for each block, width or depth to the mIoU of the mean network, by ridge "
    "regression; iterations that a network's ancestors were trained for are taken out. A choice's share is the part of "
    "the variance of the mIoU that goes with it. Bars are 95 % intervals of resampled networks; the mark “chance” is "
    "what scores without any meaning would reach one time in twenty. Choices that only matter together are not seen, "
    "and a search that tries good blocks more often knows little of the others."
)


def named(choice: str) -> str:
    """Word a slot: ``mixer of stage 3``."""
    head, *rest = choice.split(".")
    if head == "stages":
        return f"{rest[1].replace('_', ' ')} of stage {int(rest[0]) + 1}"
    return _PARTS.get(rest[0] if rest else head, choice)


def _told_choices(found: Findings) -> str:
    model = f"predicts {share(max(0.0, found.explained))} of the differences between networks that it has not seen"
    if found.explained < _UNTOLD:
        return (
            f"It cannot be told which choices matter: the model of {number_of(found.networks, 'network')} {model}. "
            "What is drawn below may be chance."
        )
    first = [one for one in found.importances if one.matters][:3]
    if not first:
        return f"No single choice stands out from chance; all together, the model {model}."
    best = max(first[0].effects, key=lambda effect: effect.gain)
    listed = ", ".join(f"the {named(one.choice)} ({share(one.share)})" for one in first)
    return (
        f"What goes with the mIoU most: {listed}. For the {named(first[0].choice)} the best is {best.value}, "
        f"{100 * best.gain:+.1f} points against the mean. The model {model}."
    )


def progress_card(run: Run, at_random: int, against: tuple[str, Run] | None) -> Card | None:
    """Tell how the hypervolume grew; None of fewer than two networks.

    Args:
        run: the run.
        at_random: how many of its first networks were drawn at random.
        against: another run to hold beside it, with its name.
    """
    trained = _comparable(run)
    if len(trained) < 2:
        return None
    runs = [("this search", run, trained)] + ([(against[0], against[1], _comparable(against[1]))] if against else [])
    values = [minimised(found, run.objectives) for _, _, found in runs]
    reference = _reference(run, np.vstack(values))
    volumes = [_volumes(own, reference) for own in values]
    first = values[0][:at_random] if against is None else values[1]
    orders = None
    if 2 <= len(first) <= MOST_ORDERED:
        orders = in_random_order(_scaled(first, reference), np.zeros(len(reference)))
    own, final = volumes[0], volumes[0][-1] or 1.0
    content: dict[str, Any] = {
        "curves": [
            {"name": name, "volume": [value / final for value in volume], "seconds": _seconds(found)}
            for (name, _, found), volume in zip(runs, volumes, strict=True)
        ],
        "random": None if orders is None else (orders / final).tolist(),
        "random_name": f"{against[0]} in random orders" if against else f"the first {len(first)}, drawn at random",
    }
    half = next(number for number, value in enumerate(own, 1) if value >= 0.9 * final)
    spent = duration(_seconds(trained)[half - 1])
    told = (
        f"After {half} of {number_of(len(own), 'network', ',')} ({spent} of training) the search "
        "had 90 % of the hypervolume that it has now"
    )
    if against:
        equal = min(map(len, volumes))
        ratio = own[equal - 1] / (volumes[1][equal - 1] or 1.0)
        told += f"; after {equal} networks it has {ratio:.2f} times that of {against[0]}"
    elif len(own) > at_random:
        told += (
            f". Its first {len(first)} networks were drawn at random; to see what random search finds, run one "
            "(“strategy: random” in its run file) and give it to “report --against”"
        )
    return Card("progress", "How the search got on", f"{told}.", content, _PROGRESS)


_PROGRESS = (
    "The hypervolume is the part of the space of objectives that the networks found so far dominate, up to the budgets "
    "(else the largest cost seen) and down to an mIoU of 0; here against its value at the end. All networks count with "
    "their shortest training, which each of them has. The shaded band is what four of five random orders give. Seconds "
    "are those of the trainings, one after the other, whatever ran at once."
)


def _comparable(run: Run) -> list[Trial]:
    found = [trial for trial in first_trainings(run.trials) if trial.feasible]
    values = minimised(found, run.objectives)
    return [trial for trial, row in zip(found, values, strict=True) if np.isfinite(row).all()]


def _reference(run: Run, values: Any) -> Any:
    """Choose the corner: an mIoU of 0, and of each cost its budget, or a little more than the largest seen."""
    corner = 1.001 * values.max(axis=0)
    for place, name in enumerate(run.objectives):
        if name == MIOU:
            corner[place] = 0.0
        elif name in run.budgets:
            corner[place] = 1.001 * run.budgets[name]
    return corner


def _scaled(values: Any, reference: Any) -> Any:
    """Shift the corner to 0, and scale each cost by it: volumes do not hang on units."""
    return (values - reference) / np.where(reference == 0, 1.0, reference)


def _volumes(values: Any, reference: Any) -> list[float]:
    return [float(v) for v in growth(_scaled(values, reference), np.zeros(len(reference)))]


def _seconds(trials: Sequence[Trial]) -> list[float]:
    return [round(float(v), 1) for v in np.cumsum([trial.seconds or 0.0 for trial in trials])]


def trust_card(run: Run) -> Card | None:
    """Tell whether longer trainings rank the networks alike; None before anything is trained."""
    short = {trial.id: trial for trial in first_trainings(run.trials)}
    if not short:
        return None
    found = trust(run)
    first, *others = trust_lines(run)
    longest = standing([trial for trial in run.trials if trial.is_finished and known(trial.miou)])
    pairs = [
        [trial.number, short[trial.id].miou, trial.miou]
        for trial in longest
        if trial.key.rung > short[trial.id].key.rung
    ]
    retrained = [[short[one.id].number, short[one.id].miou, one.miou] for one in run.retrainings if one.id in short]
    content = {
        "pairs": pairs,
        "retrained": retrained,
        "lengths": [
            min((trial.iterations or 0 for trial in short.values()), default=0),
            max((trial.iterations or 0 for trial in longest), default=0),
        ],
        "comparisons": [
            [
                one.iterations,
                one.provenance,
                one.overall.networks,
                [one.overall.tau, one.overall.low, one.overall.high],
                one.top.tau,
                one.params.tau,
                one.macs.tau,
            ]
            for one in found.comparisons
        ],
        "lines": [line[0].upper() + line[1:] + "." for line in others],
    }
    told = first[0].upper() + first[1:] + "."
    doubtful = found.verdict.startswith("do not")
    return Card("trust", "How far to trust the ranking", told, content, _TRUST, urgent=doubtful)


_TRUST = (
    "Kendall's tau compares two orders of the same networks: 1 for the same order, 0 for none in common; (1 + tau) / 2 "
    "of all pairs are in the same order. Only the best networks are trained longer, and among these tau is lower than "
    "among all; a longer training that goes on from the short one shares its luck, which makes tau higher."
)
