"""Model cards: the README.md beside a checkpoint, which says what it is in words. Nothing is said that nobody knows."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from boostformer.architecture import Architecture
from boostformer.shown import number_of

CARD, PICTURE = "README.md", "overlay.png"
MARK = "<!-- Written by boostformer, anew whenever the network is saved here; without this line it stays. -->"
UNKNOWN = "unknown"
"""Licence, in the hub's words, of weights that nobody has named one for."""
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$@:])")
_SCORES = {
    "miou": "mIoU",
    "accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "dice": "Dice",
    "frequency_weighted_iou": "frequency-weighted IoU",
    "top1": "top-1 accuracy",
}
_TERMS = ("cross_entropy", "focal", "dice", "lovasz", "boundary", "auxiliary", "label_smoothing")

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Described:
    """Subject of a card; see :class:`boostformer.weights.checkpoint.Config`.

    Attributes:
        kind: segmenter or classifier.
        architecture: the network.
        labels: class names; none where they are not known.
        provenance: how the weights came about.
        params: number of weights, as saved.
        picture: whether :data:`PICTURE` lies beside the card.
    """

    kind: str
    architecture: Architecture
    labels: Sequence[str]
    provenance: Values
    params: int
    picture: bool = False


def may_write(folder: Path) -> bool:
    """Tell whether ``folder`` has no card, or one that was written here and left as ours."""
    try:
        return MARK in (folder / CARD).read_text(encoding="utf-8")
    except FileNotFoundError:
        return True
    except (OSError, UnicodeDecodeError):
        return False


def escaped(text: object) -> str:
    """Write ``text`` so that Markdown shows it as it is, in one line, without markup, links or HTML."""
    printable = "".join(" " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in str(text))
    return _PUNCTUATION.sub(r"\\\1", " ".join(printable.split()))


def card(about: Described) -> str:
    """Write the card: a header for the hub, then task, data, training, figures, use and limits."""
    height, width = about.architecture.size
    known = about.provenance
    what = "semantic segmentation" if about.kind == "segmenter" else "classification, to pre-train an encoder"
    parts = [
        f"---\n{yaml.safe_dump(_header(about), sort_keys=False, allow_unicode=True)}---",
        MARK,
        f"# Network {about.architecture.id}",
        f"A network for {what}: {number_of(about.architecture.classes, 'class')}, images of "
        f"{number_of(about.architecture.bands, 'band')} at {height}x{width} (height x width).",
    ]
    if about.picture:
        parts.append(
            f"![An image, its label and the prediction]({PICTURE})\n\nA validation image, its label and the prediction."
            " It is the middle one of the validation images, whatever it looks like."
        )
    metrics = known["metrics"] if isinstance(known.get("metrics"), Mapping) else {}
    parts += ["## Classes", _classes(about, metrics)]
    for title, lines in (
        ("Data", _if_known(_data, known)),
        ("Search", _if_known(_search, known)),
        ("Training", _if_known(_training, known)),
        (
            "Figures",
            [
                *_if_known(_scores, metrics),
                *_if_known(_costs, known),
                f"as saved: {about.params:,} parameters",
            ],
        ),
    ):
        if lines:
            parts += [f"## {title}", "\n".join(f"- {line}" for line in lines)]
    parts += ["## Use", _use(about), "## Limits", "\n".join(f"- {line}" for line in _limits(about, metrics))]
    return "\n\n".join(parts) + "\n"


def _header(about: Described) -> dict[str, Any]:
    known = about.provenance
    segments = about.kind == "segmenter"
    results = _if_known(_results, known)
    licence, *name = _if_known(_licence, known) or [UNKNOWN]
    return {
        "license": licence,
        **({"license_name": ", ".join(name)} if name else {}),
        "library_name": "boostformer",
        "pipeline_tag": "image-segmentation" if segments else "image-classification",
        "tags": ["boostformer", "semantic-segmentation"] if segments else ["boostformer", "pre-training"],
        **({"model-index": [{"name": "boostformer", "results": results}]} if results else {}),
    }


def _licence(known: Values) -> list[str]:
    start = known.get("initialised_from") or {}
    found = known.get("licence") or start.get("licence")
    return str(found).split(", ") if found else []


def _results(known: Values) -> list[Any]:
    """Give the scores in the hub's form. A folder's name is no id on the hub, so no ``datasets`` are named."""
    metrics, name = known.get("metrics") or {}, _data_name(known)
    if "miou" not in metrics or "split" not in metrics or name is None:
        return []
    scores = [
        {"type": kind, "name": _SCORES[key], "value": round(metrics[key], 6)}
        for key, kind in (("miou", "mean_iou"), ("accuracy", "accuracy"))
    ]
    dataset = {"name": name, "type": known["data"]["kind"], "split": metrics["split"]}
    return [{"task": {"type": "image-segmentation"}, "dataset": dataset, "metrics": scores}]


def _data_name(known: Values) -> str | None:
    """Name the data without the place where they lie on this machine."""
    if not (data := known.get("data")):
        return None
    return Path(data["root"]).name or "data" if data.get("root") else "generated scenes"


def _classes(about: Described, metrics: Values) -> str:
    labels = about.labels or [f"class {number}" for number in range(about.architecture.classes)]
    shares = metrics.get("per_class") or []
    if not isinstance(shares, list) or len(shares) != len(labels):
        return ", ".join(f"{number} {escaped(label)}" for number, label in enumerate(labels))
    rows = (
        f"| {number} | {escaped(label)} | {f'{share:.2%}' if isinstance(share, int | float) else 'does not occur'} |"
        for number, (label, share) in enumerate(zip(labels, shares, strict=True))
    )
    return "\n".join(("| number | class | IoU |", "|---|---|---|", *rows))


def _data(known: Values) -> list[str]:
    if "pretrained_on" in known:
        return [f"{escaped(known['pretrained_on'])}, a folder per class"]
    if (name := _data_name(known)) is None:
        return []
    data, summary = known["data"], known.get("data_summary") or {}
    layout = summary.get("layout") or data["kind"]
    lines = [escaped(name) if layout == name else f"{escaped(name)}: {escaped(layout)}"]
    if counts := summary.get("images"):
        lines.append(", ".join(f"{count} {escaped(split)} images" for split, count in counts.items()))
    if sizes := summary.get("sizes"):
        smallest, middle, largest = (_size(sizes[which]) for which in ("smallest", "median", "largest"))
        several = f"of {smallest} to {largest}, in the median {middle}"
        lines.append(f"all of {middle}" if smallest == largest else several)
    how = {"exact": "brought to", "short_side": "brought by their short side to", "tile": "seen through windows of"}
    lines.append(f"{how.get(data.get('fit'), 'brought to')} {_size(data['size'])} for the network")
    if content := known.get("content"):
        digests = ", ".join(f"{escaped(split)} `{digest}`" for split, digest in content.items())
        lines.append(f"digests of images and masks: {digests}")
    return lines


def _training(known: Values) -> list[str]:
    if "imported_from" in known:
        return [f"imported from {escaped(known['imported_from'])}, not trained here"]
    recipe = known.get("recipe")
    if not recipe:
        return []
    named = f" `{_code(known['recipe_name'])}`" if "recipe_name" in known else ""
    done = (known.get("training") or {}).get("iterations", recipe["iterations"])
    early = f" (ended early after {done})" if done < recipe["iterations"] else ""
    length, batch = number_of(recipe["iterations"], "iteration"), number_of(recipe["batch_size"], "image")
    lines = [
        f"recipe{named}: {length}{early} of {batch}, learning rate "
        f"{recipe['lr']:g}, schedule {recipe['schedule']}, {recipe['precision']}, seed {recipe['seed']}"
    ]
    if loss := recipe.get("loss"):
        lines.append(f"loss: {_loss(loss)}")
    if recipe.get("ema"):
        lines.append(f"the weights are an exponential moving average of the trained ones, with decay {recipe['ema']}")
    if best := known.get("best"):
        lines.append(f"the weights are those after iteration {best['iteration']}, chosen {escaped(best['chosen'])}")
    start = known.get("initialised_from")
    lines.append(f"started from {_source(start)}" if start else "started from random weights")
    if teacher := known.get("teacher"):
        lines.append(f"taught by {_source(teacher)}")
    if unlabelled := known.get("unlabelled"):
        lines.append(f"with {number_of(unlabelled['images'], 'image')} without masks, learnt from the teacher alone")
    return lines


def _search(known: Values) -> list[str]:
    if not (found := known.get("searched")):
        return []
    lines = [f"trial {found['trial']} of {escaped(found['run'])}, {escaped(found['picked'])}"]
    if limits := found.get("budgets"):
        said = ", ".join(f"{escaped(name)} at most {limit:,}" for name, limit in limits.items())
        counted = f" (counted: {escaped(found['counted'])})" if "counted" in found else ""
        lines.append(f"within budgets: {said}{counted}")
    if lineage := found.get("lineage"):
        trials = [f"trial {number}" for number in (member["trial"] for member in lineage["trials"])]
        start = [f"{escaped(Path(lineage['start']['place']).name)}"] if "start" in lineage else []
        behind = number_of(lineage["iterations"], "iteration", ",")
        lines.append(f"inherited its weights: {' → '.join([*start, *trials])}, {behind}")
        if changed := lineage.get("changes"):
            lines.append(f"changed since: {escaped('; '.join(changed))}")
    return lines


def _loss(loss: Values) -> str:
    terms = [f"{name.replace('_', ' ')} {loss[name]:g}" for name in _TERMS if loss.get(name)]
    if loss.get("class_weights", "none") != "none":
        terms.append(f"class weights {escaped(loss['class_weights'])}")
    if loss.get("hardest", 1) < 1:
        terms.append(f"of the hardest {loss['hardest']:.0%} of the pixels")
    return ", ".join(terms)


def _source(found: Values) -> str:
    """Name weights without the place where they lie on this machine; those of the hub keep their whole name."""
    name = str(found["id"])
    shown = name if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else Path(name).name
    return f"{escaped(shown)}, licence {escaped(found.get('licence') or UNKNOWN)}, sha256 `{found['sha256'][:16]}`"


def _scores(metrics: Values) -> list[str]:
    found = [f"{name} {metrics[key]:.2%}" for key, name in _SCORES.items() if metrics.get(key) is not None]
    if not found:
        return []
    images = f", {number_of(metrics['images'], 'image')}" if "images" in metrics else ""
    return [f"{', '.join(found)}: on the {escaped(metrics['split'])} split{images}"]


def _costs(known: Values) -> list[str]:
    if not (costs := known.get("costs")):
        return []
    deployed = costs["deployed"]
    return [
        f"deployed (folded): {deployed['params']:,} parameters, {deployed['macs']:,} multiply-adds for an image of "
        f"{_size(costs['size'])}; counted, not measured"
    ]


def _if_known(write: Callable[[Values], list[str]], known: Values) -> list[str]:
    """Write what is known; of provenance in another form than this program's, which is anybody's to set, nothing."""
    try:
        return write(known)
    except (KeyError, TypeError, ValueError, AttributeError):
        return []


def _use(about: Described) -> str:
    kind = "BoostFormer" if about.kind == "segmenter" else "Classifier"
    python = (
        f"`FOLDER` is this folder.\n\n```python\nfrom boostformer import {kind}\n\n"
        f'model = {kind}.from_pretrained("FOLDER")\n```'
    )
    if about.kind != "segmenter":
        return f"{python}\n\n```\nboostformer train ARCH --data DATA --init FOLDER --out NEW\n```"
    commands = (
        "boostformer evaluate FOLDER --data DATA",
        "boostformer predict FOLDER IMAGE --out PICTURES",
        "boostformer export FOLDER --out FILE.onnx",
    )
    return f"{python}\n\n```\n" + "\n".join(commands) + "\n```"


def _limits(about: Described, metrics: Values) -> list[str]:
    lines = []
    if not metrics:
        lines.append("Nothing is known here of how good it is: it was not scored.")
    elif about.kind == "segmenter":
        lines.append("It was scored on one data set; on images of another kind it may be far worse.")
    if "best" in about.provenance:
        lines.append("The validation images chose these weights, so their scores seem better than others' would be.")
    if about.kind == "segmenter":
        lines.append("It gives each pixel one of the classes above, also where an image shows none of them.")
    lines.append("It has been tested for no use in which an error does harm.")
    return lines


def _size(size: Sequence[int]) -> str:
    return f"{size[0]}x{size[1]}"


def _code(text: object) -> str:
    """Write ``text`` for between backquotes."""
    return json.dumps(Path(str(text)).name, ensure_ascii=False)[1:-1].replace("`", "'")
