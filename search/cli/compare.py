"""The command ``compare``: trained networks side by side, as a publication shows them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boostformer.errors import UserError, nearest
from boostformer.files import is_folder
from results.tables import Format
from search.cli.data_argument import HELP
from search.cli.output import emit, exporting, next_step, note
from search.cli.scoring import SplitOption, checked_split

if TYPE_CHECKING:
    from boostformer.weights.checkpoint import Config


class PaperFormat(StrEnum):
    """The forms of the comparison: those of every command, and two for publications."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"


_DROP = (
    *("fewer params (%)", "params", "fewer deployed params (%)", "accuracy (%)"),
    *("fewer deployed MACs (%)", "less latency (%)", "seeds", "deployed params"),
)
"""Columns that a narrow table goes without, the first of them first: what is deployed counts most."""


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
    from results.comparison import COLUMNS, differences
    from results.publication import FORMATS
    from search.cli.side_by_side import Comparison, entry_of, evaluated, latencies, own_data, stored

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
            scores = [evaluated(folder, own_data(folder, data), split) for folder in folders]
        else:
            scores = [stored(*pair, split) for pair in zip(folders, configs[name], strict=True)]
        entries.append(entry_of(name, configs[name], scores))
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
    times = latencies({name: own[0] for name, own in configs.items()}, device)
    found = Comparison(entries, first, times, "evaluated" if evaluate else "stored", split)
    if fmt in FORMATS:
        note(found.caption)
        print(found.typeset(fmt), end="", flush=True)
        return
    cells, columns = found.shown()
    plain = fmt is PaperFormat.table
    shown = (cells, columns) if plain else (found.rows, COLUMNS)
    emit(Format(fmt), found.document(), shown[0], columns=shown[1], caption=found.caption, drop=_DROP)
    if not plain:
        note(found.caption)
    best = max((score for entry in entries for score in entry.scores), key=lambda score: score.miou)
    next_step(exporting(Path(best.checkpoint)), fmt=Format(fmt))


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
