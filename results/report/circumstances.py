"""Cards of how a search came about: latencies, failures, data, predictions, configuration."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from boostformer.shown import number_of
from results.report.card import Card, duration, share
from results.run import Run
from results.summary import human, limits, why
from results.trial import Status, Trial

_MANY = 0.2
"""A larger share of failures is the first thing to know."""
_SHOWN = 12
_PLACES = ("root", "place")


def latency_card(run: Run) -> Card | None:
    """Tell where milliseconds come from; None where there are none."""
    kinds: Counter[tuple[str, str]] = Counter()
    pairs: list[tuple[int, list[float], list[float]]] = []
    for trial in run.trials:
        for what, found in (("search", trial.latency), ("final", trial.final)):
            if found is not None:
                kinds[what, str(found.provenance)] += 1
        if trial.latency is not None and trial.final is not None and trial.is_finished:
            early, final = ([f.figure.ms, f.figure.low, f.figure.high] for f in (trial.latency, trial.final))
            pairs.append((trial.number, early, final))
    if not kinds:
        return None
    measured = sum(n for (_, how), n in kinds.items() if how.startswith("measured"))
    device = (run.config.get("latency") or {}).get("device") or "the device"
    if not measured:
        kind = next(iter(kinds))[1].partition(":")[0]
        told = (
            f"Nobody has measured these networks on {device}: every figure is {kind}. "
            "Measure the one you pick before you rely on it."
        )
    elif pairs:
        worst = max(abs(final[0] / early[0] - 1) for _, early, final in pairs)
        moved = f"its figures moved by at most {share(worst)}"
        told = f"The front was measured again on {device} when the search ended: {moved}."
    else:
        told = f"Milliseconds are measured on {device}, as the search had them."
    content = {"kinds": [[what, how, number] for (what, how), number in kinds.items()], "pairs": pairs}
    return Card("latency", "Where the milliseconds come from", told, content)


def failures_card(run: Run) -> Card | None:
    """Tell what failed and why; None where all went well."""
    ends: dict[tuple[str, str], list[int]] = defaultdict(list)
    for trial in run.trials:
        if trial.status in (Status.FAILED, Status.OVER_BUDGET, Status.WAITING) or (
            trial.is_finished and not trial.feasible
        ):
            status = "over budget" if trial.is_finished else trial.status.value.replace("_", " ")
            ends[status, why(trial.reason)].append(trial.number)
    if not ends:
        return None
    groups = [(status, reason, len(found), found[:_SHOWN]) for (status, reason), found in ends.items()]
    groups.sort(key=lambda group: -group[2])
    failed = sum(trial.status is Status.FAILED for trial in run.trials)
    tried = sum(trial.status.concludes for trial in run.trials)
    others = sum(group[2] for group in groups) - failed
    parts = []
    if failed:
        most = next(group for group in groups if group[0] == "failed")
        parts.append(f"{failed} of {number_of(tried, 'training', ',')} failed, most often by “{most[1]}”")
    if others:
        parts.append(f"{number_of(others, 'trial', ',')} ended without a place on the front for another reason")
    told = "; ".join(parts) + ". Nothing else was lost: a failure costs its own training alone."
    return Card("failures", "What did not work", told, {"groups": groups}, urgent=failed > _MANY * max(tried, 1))


def data_card(
    summary: Mapping[str, Any] | None, labels: Sequence[str], samples: Sequence[Mapping[str, Any]], remark: str
) -> Card | None:
    """Tell of the data.

    Args:
        summary: the run's ``data.json``, or what a checkpoint keeps of it.
        labels: names of the classes.
        samples: pictures, each with ``name``, ``image`` and ``alt``.
        remark: why there are no pictures.
    """
    if not summary and not labels:
        return None
    known = summary or {}
    images = _numbers(known.get("images"))
    listed = known.get("classes")
    classes = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    counted = [
        [str(one.get("class")), one["share"], _numbers(one.get("images"))]
        for one in classes
        if isinstance(one.get("share"), int | float)
    ]
    counted.sort(key=lambda one: -one[1])
    what = ", ".join(f"{number:,} for {split}" for split, number in images.items())
    layout, many = str(known.get("layout") or "the data"), "class" if len(labels) == 1 else "classes"
    told = f"{layout[:1].upper()}{layout[1:]}: {len(labels)} {many}"
    told += f", {what}." if what else "."
    if len(counted) > 1:
        (most, much, *_), *_, (least, little, *_) = counted
        told += f" Most pixels are {most} ({share(much)}), fewest are {least} ({share(little, 2)})."
    sizes = known.get("sizes") if isinstance(known.get("sizes"), Mapping) else None
    content = {"shares": counted, "labels": list(labels), "samples": list(samples), "sizes": sizes, "remark": remark}
    return Card("data", "The data", told, content)


def _numbers(found: Any) -> dict[str, float]:
    return {str(k): v for k, v in found.items() if isinstance(v, int | float)} if isinstance(found, Mapping) else {}


def predictions_card(content: Mapping[str, Any] | None) -> Card | None:
    """Show what networks see; None where no trained network is at hand.

    ``content`` holds ``networks``, by name, and ``rows`` of pictures: image, truth, and one for each network.
    """
    if not content or not content.get("rows"):
        return None
    told = (
        f"Validation images, their labels, and what {number_of(len(content['networks']), 'trained network', ',')} "
        f"{'makes' if len(content['networks']) == 1 else 'make'} of them. The images were chosen by their places in "
        "the data, whatever they look like."
    )
    return Card("predictions", "What the networks see", told, dict(content))


def setup_card(run: Run, place: str, made: str) -> Card:
    """Tell what was asked for, with which versions, and how to go on. ``place`` is the folder as a shell reads it."""
    config = run.config
    data, search, proxy = (config.get(key) or {} for key in ("data", "search", "proxy"))
    trained = f"{proxy.get('iterations')} iterations of {proxy.get('batch_size')} images, rate {proxy.get('lr')}"
    facts = {
        "space": config.get("space_name") or config.get("space"),
        "data": f"{data.get('kind')}, {'x'.join(map(str, data.get('size', [])))}" if data else None,
        "objectives": ", ".join(run.objectives),
        "budgets": limits(run.budgets) + (f", of the {config['counted']} network" if config.get("counted") else ""),
        "strategy": search.get("strategy"),
        "seed of the search": search.get("seed"),
        "seeds of the front": search.get("final_seeds"),
        "short training": trained if proxy else None,
        "weights": "inherited from the network most like it" if config.get("inherit") else "random at first",
    }
    versions = config.get("versions") or {}
    commands = [
        ["the whole configuration, as a run file", f"boostformer show {place} --config"],
        ["go on with the search", f"boostformer search --resume {place}"],
        ["the front as a table", f"boostformer pareto {place} --format csv"],
        ["this page again", f"boostformer report {place}"],
    ]
    told = (
        "All that decides what this search finds: with the same data, the same versions and one worker it finds the "
        "same again."
    )
    content = {
        "facts": [[key, str(value)] for key, value in facts.items() if value not in (None, "")],
        "versions": [[str(key), str(value)] for key, value in versions.items()],
        "content": [[str(key), str(value)] for key, value in (config.get("content") or {}).items()],
        "commands": commands,
        "made": made,
        "config": without_places(config),
    }
    return Card("setup", "Configuration", told, content)


def tiles_of(run: Run, members: Sequence[Trial]) -> list[list[str]]:
    """Give the numbers of the page's head, each with its name; ``members`` are those of the front."""
    trained = {trial.id for trial in run.trials if trial.is_finished}
    scores = [trial.miou for trial in members if trial.miou is not None]
    failed = sum(trial.status is Status.FAILED for trial in run.trials)
    seconds = sum(trial.seconds or 0.0 for trial in run.trials)
    tiles = [["networks trained", f"{len(trained):,}"], ["on the front", f"{len(members):,}"]]
    tiles += [["best mIoU", human("miou", max(scores))]] if scores else []
    tiles += [["time of training", duration(seconds)]]
    tiles += [["failed", f"{failed:,}"]] if failed else []
    running = sum(trial.status is Status.RUNNING for trial in run.trials)
    return tiles + ([["in training", f"{running:,}"]] if running else [])


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of a configuration where things lie on this machine: the page may be handed on."""
    return {
        key: without_places(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in _PLACES
    }
