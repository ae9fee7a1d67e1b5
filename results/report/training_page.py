"""The document of a training: its scores, curves, pictures, network, data and how it was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from boostformer.architecture import Architecture
from boostformer.shown import number_of
from results.history import Row, pairs_of
from results.report.card import Card, ranked, share
from results.report.circumstances import data_card, without_places
from results.report.rows import FIELDS, KINDS, slots_of
from results.summary import human, summary

_SCORES = {"miou": "mIoU", "accuracy": "pixel accuracy", "mean_accuracy": "mean accuracy", "dice": "Dice"}
_RECIPE = ("iterations", "batch_size", "lr", "schedule", "precision", "seed")


def training_document(
    name: str,
    place: str,
    made: str,
    rows: Sequence[Row],
    network: Architecture | None = None,
    labels: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
    pictures: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Gather what the page of a training shows.

    Args:
        name: the checkpoint folder's.
        place: the folder as a shell reads it, for commands.
        made: when and by what the page was made.
        rows: its history; none where it is not there any more.
        network: what was trained; None while there is no checkpoint yet.
        labels: names of the classes.
        provenance: what the checkpoint says of how it came about, which may be anybody's words.
        pictures: of what it sees, each with ``name``, ``image`` and ``alt``.
    """
    known = provenance or {}
    metrics = known.get("metrics")
    scores = metrics if isinstance(metrics, Mapping) else {}
    cards = [
        _curves(list(rows), known, scores),
        _pictures(pictures),
        _classes(labels, scores),
        _network(network, place) if network else None,
        data_card(_mapping(known.get("data_summary")), labels, [], ""),
        _setup(known, place, made),
    ]
    there = {key: word for key, word in _SCORES.items() if isinstance(scores.get(key), int | float)}
    tiles = [[word, human("miou", scores[key])] for key, word in there.items()]
    if rows and rows[-1]["iteration"] is not None:
        tiles.append(["iterations", f"{rows[-1]['iteration']:,.0f}"])
    return {
        "title": f"Training {name}",
        "about": summary(network.to_dict()) if network else "No checkpoint has been written yet.",
        "tiles": tiles,
        "trials": _table(network, scores, known) if network else None,
        "cards": ranked(cards),
        "live": False,
    }


def _curves(rows: list[Row], known: Mapping[str, Any], scores: Mapping[str, Any]) -> Card:
    loss, miou, accuracy = pairs_of(rows, "loss"), pairs_of(rows, "miou"), pairs_of(rows, "accuracy")
    if not loss:
        return Card("curves", "The training", "Its history, metrics.csv, is not in this folder.", {"panels": []})
    told = f"Over {loss[-1][0]:,.0f} iterations the loss went from {loss[0][1]:.3f} to {loss[-1][1]:.3f}"
    panels = [_panel("Loss", "loss", [("running mean", loss)])]
    if miou:
        after, best = max(miou, key=lambda pair: pair[1])
        told += f"; the best of {number_of(len(miou), 'validation')} is an mIoU of {share(best, 2)}, after iteration "
        told += f"{after:,.0f}"
        if len(miou) > 3 and after == miou[-1][0]:
            told += ", the last one: a longer training may be better still"
        panels.append(
            _panel("Scores of the validations", "miou", [("mIoU", miou), ("pixel accuracy", accuracy)], dots=True)
        )
    for title, column in (("Learning rate", "lr"), ("Images a second", "images_per_second")):
        if pairs := pairs_of(rows, column):
            panels.append(_panel(title, column, [(title.lower(), pairs)]))
    return Card("curves", "The training", f"{told}.", {"panels": panels})


def _panel(
    title: str, name: str, curves: Sequence[tuple[str, list[tuple[float, float]]]], *, dots: bool = False
) -> dict[str, Any]:
    """Give a panel of curves as the page takes it.

    Args:
        title: of the panel.
        name: of what is drawn, which says how its ticks are written.
        curves: each by its name.
        dots: whether each point is drawn.
    """
    listed = [{"name": label, "pairs": pairs, "dots": dots} for label, pairs in curves]
    return {"title": title, "name": name, "label": title.lower(), "curves": listed}


def _pictures(pictures: Sequence[Mapping[str, Any]]) -> Card | None:
    if not pictures:
        return None
    told = (
        "Validation images, their labels, and what the network makes of them. They were chosen by their places in the "
        "data, whatever they look like."
    )
    return Card("pictures", "What it sees", told, {"pictures": list(pictures)})


def _classes(labels: Sequence[str], scores: Mapping[str, Any]) -> Card | None:
    found = scores.get("per_class")
    if not isinstance(found, list) or len(found) != len(labels):
        return None
    pairs = zip(labels, found, strict=True)
    known = [(name, float(value)) for name, value in pairs if isinstance(value, int | float)]
    if not known:
        return None
    known.sort(key=lambda pair: -pair[1])
    told = f"It sees {known[0][0]} best ({share(known[0][1])} IoU) and {known[-1][0]} worst ({share(known[-1][1])})."
    content = {"shares": known, "labels": list(labels), "samples": [], "sizes": None, "remark": ""}
    return Card("classes", "Class by class", told, content)


def _network(network: Architecture, place: str) -> Card:
    commands = [
        ["score it", f"boostformer evaluate {place}"],
        ["draw what it sees", f"boostformer predict {place} IMAGES --out pictures"],
        ["export it", f"boostformer export {place} --out network.onnx"],
        ["train it on", f"boostformer train {place} --data DATA --out NEW"],
    ]
    content = {"size": list(network.size), "commands": commands}
    return Card("network", "The network", "Its stages, each with the size of its map, and what to do with it.", content)


def _table(network: Architecture, scores: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Give the network as the one row of a run's table."""
    slots = dict(slots_of(network.to_dict()))
    row = dict.fromkeys(FIELDS) | {"number": 0, "id": network.id, "kind": KINDS.index("front"), "seeds": 1, "behind": 0}
    row |= {"network": [0] * len(slots), "miou": scores.get("miou")}
    listed = [{"name": name, "values": [value]} for name, value in slots.items()]
    return {"fields": FIELDS, "kinds": KINDS, "reasons": [], "slots": listed, "rows": [[row[name] for name in FIELDS]]}


def _setup(known: Mapping[str, Any], place: str, made: str) -> Card:
    recipe, training, costs = (_mapping(known.get(key)) for key in ("recipe", "training", "costs"))
    searched, start = _mapping(known.get("searched")), _mapping(known.get("initialised_from"))
    deployed = _mapping(costs.get("deployed"))
    facts = {
        "recipe": known.get("recipe_name"),
        **{key.replace("_", " "): recipe.get(key) for key in _RECIPE},
        "began from": start.get("id") or "random weights",
        "taught by": _mapping(known.get("teacher")).get("id"),
        "from the search": f"trial {searched.get('trial')} of {searched.get('run')}" if searched else None,
        **{f"{key} once it is folded": human(key, deployed[key]) for key in ("params", "macs") if key in deployed},
        "torch": training.get("torch"),
    }
    content = {
        "facts": [[key, str(value)] for key, value in facts.items() if value is not None],
        "versions": [],
        "content": [[str(key), str(value)] for key, value in _mapping(known.get("content")).items()],
        "commands": [["this page again", f"boostformer report {place}"]],
        "made": made,
        "config": without_places(known) or None,
    }
    return Card("setup", "How it was trained", "All that is known of how these weights came about.", content)


def _mapping(found: Any) -> dict[str, Any]:
    return dict(found) if isinstance(found, Mapping) else {}
