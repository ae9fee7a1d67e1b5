"""Cards of what a search found: its front, and its networks side by side."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from boostformer.errors import UserError
from boostformer.shown import number_of
from results.pareto import PICKS, pick
from results.report.card import Card, share
from results.run import Run
from results.summary import human
from results.trial import COSTS, MIOU, OBJECTIVES, Trial

_ALTERNATIVES = {"knee": "knee", "best-miou": "best mIoU", "smallest": "smallest", "fastest": "fastest"}


def front_card(run: Run, members: Sequence[Trial]) -> Card:
    """Tell of the front's ``members``, in any two objectives."""
    timed = any(trial.latency_ms is not None for trial in run.trials)
    axes = [name for name in OBJECTIVES if name != "latency_ms" or timed]
    content = {
        "axes": [
            {"name": name, "label": OBJECTIVES[name].label.partition(" (")[0], "objective": name in run.objectives}
            for name in axes
        ],
        "objectives": run.objectives,
        "budgets": run.budgets,
        "references": run.references,
        "picks": _picks(run, members),
    }
    return Card("front", "The front", _told(run, members), content, _METHOD)


_METHOD = (
    "A network is on the front when no other one that was trained as long, and is within the budgets, is at least as "
    "good in every objective and better in one. Where a network was trained with several seeds its mean counts, and "
    "bars show the standard deviation over seeds; bars of a latency show where half of its measurements, or the device "
    "itself, is expected. The line joins the networks that are best in the two objectives shown. Presets are marked at "
    "what they cost; nobody trained them here, unless a score is shown."
)


def networks_card(run: Run, place: str) -> Card | None:
    """Let networks be compared; None where none is finished. ``place`` is the run's folder as a shell reads it."""
    if not any(trial.is_finished for trial in run.trials):
        return None
    commands = [
        ["train it in full", f"boostformer retrain {place} --trial {{n}} --out net-{{n}}"],
        ["score it", "boostformer evaluate net-{n}"],
        ["export it", "boostformer export net-{n} --out net-{n}.onnx"],
        ["draw what it sees", "boostformer predict net-{n} IMAGES --out pictures"],
    ]
    sentence = (
        "The networks that you pin, stage by stage, with what each costs against the first. "
        "Press a point of the front above, or a number in its table, to pin or to release one."
    )
    if device := (run.config.get("latency") or {}).get("device"):
        measured = any(trial.latency and trial.latency.provenance.kind == "measured" for trial in run.trials)
        how = "measure" if measured else "estimate"
        commands.append([f"{how} it", f"boostformer latency {how} net-{{n}} --device {shlex.quote(str(device))}"])
    size = run.config.get("data", {}).get("size")
    return Card("networks", "Networks side by side", sentence, {"commands": commands, "size": size})


def _picks(run: Run, members: Sequence[Trial]) -> list[dict[str, Any]]:
    """Name the networks that rules pick off the front, each network once with all its rules."""
    found: dict[int, list[str]] = {}
    for rule in PICKS:
        try:
            found.setdefault(pick(members, run.objectives, rule).number, []).append(_ALTERNATIVES[rule])
        except UserError:  # nothing is on the front, or nothing was timed
            continue
    return [{"number": number, "rules": rules} for number, rules in found.items()]


def _told(run: Run, members: Sequence[Trial]) -> str:
    finished = {trial.id for trial in run.trials if trial.is_finished}
    if not members:
        return f"{number_of(len(finished), 'network', ',')} finished so far, and none is on the front yet."
    scored = [trial for trial in members if trial.miou is not None]
    networks = number_of(len(finished), "network", ",")
    told = f"{len(members)} of {networks} {'is' if len(members) == 1 else 'are'} on the front"
    if not scored:
        return f"{told}."
    best = pick(members, run.objectives, "best-miou")
    told += f". The best, trial {best.number}, scores {human(MIOU, best.miou)} mIoU with {_costs(run, best)}."
    knee = pick(members, run.objectives, "knee")
    if knee.number == best.number or best.miou is None or knee.miou is None:
        return told
    lost = f"{100 * (best.miou - knee.miou):.1f} points"
    return f"{told} The knee, trial {knee.number}, gives up {lost} for {_less(run, best, knee)}."


def _costs(run: Run, trial: Trial) -> str:
    costs = [OBJECTIVES[name] for name in COSTS if name in run.objectives or name in run.budgets]
    known = [(one, value) for one in costs if (value := one.value(trial)) is not None]
    return _joined([f"{one.show(value)} {one.noun}".strip() for one, value in known]) or "no cost among its objectives"


def _less(run: Run, best: Trial, other: Trial) -> str:
    saved = []
    for one in (OBJECTIVES[name] for name in COSTS if name in run.objectives):
        before, after = one.value(best), one.value(other)
        if before and after is not None and after < before:
            saved.append(
                f"{share(1 - after / before)} {'less' if one.name == 'latency_ms' else 'fewer'} {_NOUNS[one.name]}"
            )
    return _joined(saved) or "other costs"


_NOUNS = {"params": "parameters", "macs": "MACs", "latency_ms": "latency"}


def _joined(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1] if parts else ""]))
