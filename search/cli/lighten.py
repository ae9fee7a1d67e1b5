"""The command ``lighten``: from a trained network to one that is lighter, trained and compared with it."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boostformer.errors import UserError
from boostformer.files import expanded
from search.cli.data_argument import data_in, data_of
from search.cli.full_training import BEST
from search.cli.last_training import LastTraining
from search.cli.lightening import SEARCH, START, TRIALS, Folder, Limits, Wish, write_files
from search.cli.output import emit, exporting, next_step, note
from search.cli.recipe_options import (
    DataOption,
    IterationsOption,
    LogOption,
    RecipeOption,
    SeedOption,
    SetOption,
    SizeOption,
    ThreadsOption,
    given,
    set_values,
)
from search.cli.teaching import TeacherOption

if TYPE_CHECKING:
    from boostformer.data.config import DataConfig
    from boostformer.weights.checkpoint import Config
    from results.comparison import Scored

TABLE = "table"
"""Name, before .md and .json, of the files with the comparison."""


def register(app: typer.Typer) -> None:
    """Add this module's command to the program."""
    app.command()(lighten)


def lighten(
    ckpt: Annotated[
        str, typer.Argument(metavar="CKPT", help="The trained network: a checkpoint, or transformers' SegFormer.")
    ],
    data: DataOption = None,
    size: SizeOption = None,
    macs: Annotated[str | None, typer.Option(help="Most multiply-adds: 60% of the network's own, or 1.5G.")] = None,
    params: Annotated[str | None, typer.Option(help="Most parameters: 60% of the network's own, or 3M.")] = None,
    latency: Annotated[
        str | None, typer.Option(help="Most milliseconds on --device: 80% of the network's own, or 20.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where latency is had: see `boostformer latency devices`.")
    ] = None,
    space: Annotated[
        str | None, typer.Option(metavar="SPACE", help="What to search instead of the space around the network.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of all that comes out; by default CKPT-lighter here.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help=f"Networks to try in all, by default {TRIALS}.")] = None,
    trial_iterations: Annotated[int | None, typer.Option(min=1, help="Updates of each trial's weights.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=2, help="Of all trainings.")] = None,
    screen: Annotated[
        int | None,
        typer.Option(min=0, help="Networks to see for ten steps before any is trained longer, by default up to 100."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes of the search on this machine.")] = None,
    recipe: RecipeOption = None,
    iterations: IterationsOption = None,
    seed: SeedOption = None,
    threads: ThreadsOption = None,
    sets: SetOption = None,
    log: LogOption = "tensorboard",
    teacher: TeacherOption = None,
    no_teacher: Annotated[
        bool, typer.Option("--no-teacher", help="Train the pick from the labels alone, not from CKPT as well.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the run file and the space file, and say what it will cost.")
    ] = False,
) -> None:
    """Make a trained network lighter: search around it, train the best within the limits, compare both.

    Networks begin from the trained one's weights. The same command goes on where it was stopped. --recipe and what
    changes it are for the last training: by default the search's own recipe, ten times as long.
    """
    from boostformer.training.log import trackers_of
    from search.cli.retraining import recipe_of
    from search.cli.run import run_search
    from search.config.run_file import read_run_file

    if teacher is not None and no_teacher:
        raise UserError("--teacher, --no-teacher: give one of them")
    if latency is not None and device is None:
        raise UserError("--latency: --device is missing, on which it is had; see `boostformer latency devices`")
    trackers = trackers_of(log)
    written = {"macs": macs, "params": params, "latency_ms": latency}
    limits = Limits({name: text for name, text in written.items() if text is not None})
    out = out or Path(f"{Path(ckpt).resolve().name}-lighter")
    start, config = _start(ckpt, out)
    images = data_of(data, size, data_in(config.provenance), config.architecture.size)
    trial = given(iterations=trial_iterations, batch_size=batch_size)
    wish = Wish(start, _at(config, images), images, limits, device, space, trial, trials or TRIALS, seed or 0, screen)
    folder = Folder(out, wish.asked())
    with _going_on():
        if not folder.is_set_up():
            write_files(folder, wish)
        run = read_run_file(folder.run_file).config  # which may have been changed since
        images = run.data
        before = _scored(start, images)
        recipe_changes = given(batch_size=batch_size, iterations=iterations, seed=seed, threads=threads)
        full = recipe_of(run.proxy, recipe, recipe_changes | set_values(sets))
        teacher = None if no_teacher else teacher or str(start)
        last = LastTraining(images, full, teacher, trackers)
        last.say_cost(wish.config.architecture)
        if dry_run:
            with tempfile.TemporaryDirectory() as scratch:
                run_search(folder.run_file, Path(scratch) / SEARCH, trials, workers=0, screen=False)
            note(f"nothing was trained; the files in {out} may be changed before the same command without --dry-run")
            return
        experiment = run_search(folder.run_file, folder.search, trials, workers)
        assert experiment is not None
        net = last.run(folder, experiment)
        after = _scored(net, images)
        _compare(out, {start: before, net: after}, images, device)


def _start(ckpt: str, out: Path) -> tuple[Path, Config]:
    """Find the trained network: its folder, and what it says of itself; a foreign one is read into ``out``."""
    from boostformer.start import find_folder
    from boostformer.weights import checkpoint, importers
    from search.cli.use import import_into

    folder = find_folder(expanded(ckpt))
    if not checkpoint.is_ours(folder):
        if not importers.read(folder).has_decoder:
            raise UserError(f"{ckpt}: holds an encoder only, {_NEEDED}")
        if not checkpoint.is_ours(out / START):
            import_into(folder, out / START)
        known = checkpoint.read_config(out / START).provenance.get("imported_sha256")
        if known != checkpoint.sha256(importers.weights_file(folder)):
            raise UserError(f"{ckpt}: its weights are not those that {out / START} was read from; choose another --out")
        folder = out / START
    config = checkpoint.read_config(folder)
    if config.kind != "segmenter":
        raise UserError(f"{ckpt}: holds a {config.kind}, {_NEEDED}")
    return folder, config


_NEEDED = "a trained segmenter is needed here: `boostformer train ARCH --init CKPT --data DIR` makes one of it"


def _at(config: Config, images: DataConfig) -> Config:
    """Give the same checkpoint with its network at the size of the images; UserError when it cannot be had so."""
    from search.cli.arch_argument import at_size

    return replace(config, architecture=at_size(config.architecture, images.size))


def _scored(folder: Path, images: DataConfig) -> Scored:
    from search.cli.side_by_side import evaluated

    found = evaluated(folder, images, "validation")
    note(f"mIoU {found.miou:.2%} of {folder}")
    return found


def _compare(out: Path, scores: dict[Path, Scored], images: DataConfig, device: str | None) -> None:
    """Print the networks side by side, the start first, and write the same as Markdown and JSON."""
    from boostformer.files import replacing
    from boostformer.weights import checkpoint
    from results.comparison import differences
    from results.tables import Format, to_json
    from search.cli.side_by_side import Comparison, entry_of, latencies

    configs = {folder.name: _at(checkpoint.read_config(folder), images) for folder in scores}
    entries = [entry_of(folder.name, [configs[folder.name]], [score]) for folder, score in scores.items()]
    for line in differences(entries):
        note(f"the scores were not made alike: {line}")
    times = latencies(configs, device) if device is not None else {}
    found = Comparison(entries, entries[0].name, times, "evaluated", "validation")
    markdown = found.typeset("markdown") + "\n" + "\n".join(found.caption.splitlines()) + "\n"
    for suffix, text in ((".md", markdown), (".json", to_json(found.document()))):
        with replacing(out / f"{TABLE}{suffix}") as part:
            part.write_text(text, encoding="utf-8")
    cells, columns = found.shown()
    emit(Format.table, found.document(), cells, columns=columns, caption=found.caption)
    net = list(scores)[-1]
    note(f"written: {out / TABLE}.md and .json; the best of its validations is in {net / BEST}")
    next_step(exporting(net))


@contextmanager
def _going_on() -> Iterator[None]:
    """Say on Ctrl-C how to go on, where neither the search nor the training says it."""
    try:
        yield
    except KeyboardInterrupt:
        note(f"stopped; to go on from here: {shlex.join(['boostformer', *sys.argv[1:]])}")
        raise typer.Exit(130) from None
