"""The command ``compare``: trained networks side by side, as a publication shows them."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boostformer.errors import UserError, nearest
from boostformer.files import is_folder
from results.tables import Format
from search.cli.data_argument import HELP, data_in, data_of
from search.cli.output import emit, note
from search.cli.scoring import SplitOption, checked_split, ending_without_result, load, open_images

if TYPE_CHECKING:
    from boostformer.data.config import DataConfig
    from boostformer.figures import Latency
    from boostformer.weights.checkpoint import Config
    from results.comparison import Entry, Scored


class PaperFormat(StrEnum):
    """The forms of the comparison: those of every command, and two for publications."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"


def register(app: typer.Typer) -> None:
    """Add this module's command to the program."""
    app.command()(compare)


def compare(
    networks: Annotated[
        list[str],
        typer.Argument(
            metavar="NETWORK…",
            help="Checkpoint folders, or NAME=CKPT[,CKPT…]: several seeds of one network.",
            show_default=False,
        ),
    ],
    baseline: Annotated[
        str | None, typer.Option(metavar="NAME", help="What reductions are relative to; by default the first.")
    ] = None,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Score all anew, instead of the stored scores.")] = False,
    data: Annotated[str | None, typer.Option(help=f"With --evaluate: {HELP} By default each one's own.")] = None,
    split: SplitOption = "validation",
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="Give latencies on it: see `boostformer latency devices`.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compare scores that were made on different data, too.")
    ] = False,
    fmt: Annotated[PaperFormat, typer.Option("--format", help="How to print the result.")] = PaperFormat.table,
) -> None:
    """Compare networks: parameters, MACs, mIoU with its spread over seeds, accuracy, latency, and what each saves.

    Scores are those that the checkpoints keep, which are of training's own validation part, unless --evaluate is given.
    Scores of different images, masks, sizes or parts are refused.
    """
    from results.comparison import COLUMNS, differences, shown
    from results.comparison import compare as side_by_side
    from results.publication import FORMATS, typeset

    checked_split(split)
    if data is not None and not evaluate:
        raise UserError("--data: is for --evaluate; without it the scores that checkpoints keep are compared")
    named = _named(networks)
    first = baseline if baseline is not None else next(iter(named))
    if first not in named:
        raise UserError(f"--baseline: unknown '{first}'; {nearest(first, named)}")
    configs = {name: _configs(name, folders) for name, folders in named.items()}
    entries = []
    for name, folders in named.items():
        if evaluate:
            scores = [_evaluated(folder, data, split) for folder in folders]
        else:
            scores = [_stored(*pair, split) for pair in zip(folders, configs[name], strict=True)]
        entries.append(_entry(name, configs[name], scores))
    unlike = differences(entries)
    if unlike and not force:
        raise UserError(
            f"scores that were not made alike are not compared: {'; '.join(unlike)}; --evaluate --data DIR scores all "
            "on the same, --force compares them all the same"
        )
    for line in _remarks(configs):
        note(line)
    for line in unlike:
        note(f"compared by --force although the scores were not made alike: {line}")
    latencies = _latencies({name: own[0] for name, own in configs.items()}, device)
    entries = [replace(entry, latency=latencies.get(entry.name)) for entry in entries]
    rows = side_by_side(entries, first)
    how = f"scored anew ({split})" if evaluate else f"scores that the checkpoints keep ({split})"
    provenance = str(next(iter(latencies.values())).provenance) if latencies else None
    cells, columns = shown(rows)
    caption = f"{how}; reductions relative to {first}" + (f"\nlatency: {provenance}" if provenance else "")
    if fmt in FORMATS:
        note(caption)
        print(typeset(cells, columns, fmt), end="", flush=True)
        return
    document = {
        "baseline": first,
        "scores": "evaluated" if evaluate else "stored",
        "split": split,
        "differences": unlike,
        "latency_provenance": provenance,
        "networks": [row | {"checkpoints": _checkpoints(entry)} for row, entry in zip(rows, entries, strict=True)],
    }
    plain = fmt is PaperFormat.table
    emit(Format(fmt), document, cells if plain else rows, columns=columns if plain else COLUMNS, caption=caption)
    if fmt is not PaperFormat.table:
        note(caption)


def _named(networks: list[str]) -> dict[str, list[Path]]:
    """Read the arguments: the folders of each network by its name."""
    named: dict[str, list[Path]] = {}
    for text in networks:
        name, equals, listed = text.partition("=")
        alone = is_folder(text) or not equals
        key = Path(text).resolve().name if alone else name.strip()
        folders = [Path(text)] if alone else [Path(part.strip()) for part in listed.split(",") if part.strip()]
        if not key or not folders:
            raise UserError(f"'{text}' is no network; allowed: a checkpoint's folder, or NAME=CKPT[,CKPT…]")
        if key in named:
            raise UserError(f"'{text}': two networks are named '{key}'; NAME=CKPT names them, NAME=CKPT,CKPT are seeds")
        named[key] = folders
    return named


def _configs(name: str, folders: list[Path]) -> list[Config]:
    """Read what checkpoints of one network say of themselves; UserError unless they are trainings of one."""
    from boostformer.weights import checkpoint

    configs = [checkpoint.read_config(folder) for folder in folders]
    for folder, config in zip(folders, configs, strict=True):
        if config.kind != "segmenter":
            raise UserError(f"{folder}: holds a {config.kind}, a segmenter is needed here")
        if config.architecture != configs[0].architecture:
            raise UserError(
                f"{name}: {folder} holds {config.architecture.id}, {folders[0]} {configs[0].architecture.id}, or for "
                "another size or number of classes; seeds are trainings of one network"
            )
    if len({config.weights_sha256 for config in configs}) < len(configs):
        raise UserError(f"{name}: two of its checkpoints have the same weights; seeds are different trainings")
    return configs


def _remarks(configs: dict[str, list[Config]]) -> list[str]:
    """Say where more than the seed differs between a network's trainings, and where weights were chosen otherwise."""
    lines = []
    for name, own in configs.items():
        if len(own) == 1:
            continue
        trainings = [_training(config) for config in own]
        seeds = [training.pop("seed", None) for training in trainings]
        keys = sorted({key for one in trainings for key in one if any(one[key] != two.get(key) for two in trainings)})
        if keys:
            lines.append(f"{name}: its checkpoints differ in {', '.join(keys)}; the spread is not that of seeds alone")
        elif len(set(seeds)) < len(seeds):
            lines.append(f"{name}: two of its checkpoints have the same seed")
    chosen = [name for name, own in configs.items() if any("best" in config.provenance for config in own)]
    if chosen and len(chosen) < len(configs):
        lines.append(
            f"the weights of {', '.join(chosen)} were chosen by their validation scores, those of the others were not: "
            "on those images the former seem better than they are"
        )
    return lines


def _training(config: Config) -> dict[str, Any]:
    """Collect what decides how weights came about, as plain values; of a checkpoint that does not say, nothing."""
    known = config.provenance
    recipe = known.get("recipe")
    origins = {key: (known.get(key) or {}).get("sha256") for key in ("initialised_from", "teacher")}
    return {**(recipe if isinstance(recipe, dict) else {}), **origins, "chosen": "best" in known}


def _stored(folder: Path, config: Config, split: str) -> Scored:
    """Read the scores that a checkpoint keeps."""
    from results.comparison import Scored

    metrics, data = config.provenance.get("metrics"), data_in(config.provenance)
    if not isinstance(metrics, dict) or metrics.get("split") != split:
        raise UserError(f"{folder}: keeps no scores of its {split} part; --evaluate scores it")
    content = config.provenance.get("content")
    basis = {
        "data": content.get(split) if isinstance(content, dict) else None,
        "split": split,
        "size": list(data.size) if data else None,
        "fit": _fit(data) if data else None,
        "classes": config.architecture.classes,
    }
    try:
        return Scored(str(folder), float(metrics["miou"]), float(metrics["accuracy"]), basis)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder}: its scores cannot be read ({error}); --evaluate scores it") from None


def _evaluated(folder: Path, data: str | None, split: str) -> Scored:
    """Score a checkpoint now."""
    from boostformer.training import evaluate
    from boostformer.training.devices import computing
    from results.comparison import Scored

    model, place = load(folder, "auto", "fp32")
    config = data_of(data, None, data_in(model.provenance), model.architecture.size)
    images, content = open_images(model, folder, config, split)
    note(f"scoring {folder} on {len(images)} images …")
    with computing(place), ending_without_result():
        metrics = evaluate(model, images, size=config.size)
    basis = {
        "data": content(),
        "split": split,
        "size": list(config.size),
        "fit": _fit(config),
        "classes": model.architecture.classes,
    }
    return Scored(str(folder), metrics.miou, metrics.accuracy, basis)


def _fit(data: DataConfig) -> str:
    return f"tile, overlap {data.overlap:g}" if data.fit == "tile" else data.fit


def _entry(name: str, configs: list[Config], scores: list[Scored]) -> Entry:
    from evaluators.costs.table import CostTable
    from results.comparison import Entry

    network = configs[0].architecture
    trained, deployed = CostTable(deployed=False).cost(network), CostTable().cost(network)
    return Entry(name, network.id, trained.params, deployed.params, deployed.macs, scores)


def _latencies(configs: dict[str, Config], device: str | None) -> dict[str, Latency]:
    """Give latencies by the networks' names: on a device, or as the checkpoints keep them, of one provenance alone."""
    if device is not None:
        from evaluators.latency.devices import find
        from search.cli.latency import reachable

        entry = find(device)
        with reachable():
            backend = entry.open()
            return {
                name: backend.latency(config.architecture, labels=False, builds=1, say=note)
                for name, config in configs.items()
            }
    kept = {name: found for name, config in configs.items() if (found := _kept(name, config)) is not None}
    if len({str(found.provenance) for found in kept.values()}) > 1:
        told = "; ".join(f"{name}: {found.provenance}" for name, found in kept.items())
        note(f"latencies are left out, since they are of different provenance: {told}; --device NAME gives all on one")
        return {}
    return kept


def _kept(name: str, config: Config) -> Latency | None:
    from boostformer.figures import Latency

    searched = config.provenance.get("searched") or {}
    try:
        found = searched.get("final") or searched.get("latency")
        return None if found is None else Latency.from_dict(found)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{name}: the latency in its checkpoint's provenance cannot be read: {error}") from None


def _checkpoints(entry: Entry) -> list[dict[str, Any]]:
    return [{"checkpoint": s.checkpoint, "miou": s.miou, "accuracy": s.accuracy, **s.basis} for s in entry.scores]
