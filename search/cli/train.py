"""Commands that train a network in full: ``train``, ``pretrain``."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from boostformer.errors import UserError
from boostformer.files import expanded
from boostformer.shown import number_of
from search.cli.data_argument import (
    BackgroundOption,
    ClassesOption,
    ColoursOption,
    IgnoreOption,
    data_of,
    meaning_of,
    size_of,
    with_meaning,
)
from search.cli.full_training import FullTraining
from search.cli.output import next_step, note
from search.cli.recipe_options import (
    BatchOption,
    DataOption,
    InitOption,
    IterationsOption,
    LicenceOption,
    LogOption,
    LrOption,
    OutOption,
    PrecisionOption,
    RecipeOption,
    SeedOption,
    SetOption,
    SizeOption,
    ThreadsOption,
    classification_recipe,
    given,
    licence_given,
    segmentation_recipe,
    set_values,
)
from search.cli.sitting import first_goes_on, sitting
from search.cli.teaching import TeacherOption, UnlabelledOption


def register(app: typer.Typer) -> None:
    """Add this module's commands to the program."""
    app.command()(train)
    app.command()(pretrain)


def train(
    arch: Annotated[str, typer.Argument(help="Preset, architecture file, checkpoint folder or RUN_DIR:TRIAL.")],
    out: OutOption,
    data: DataOption = None,
    size: SizeOption = None,
    recipe: RecipeOption = None,
    iterations: IterationsOption = None,
    batch_size: BatchOption = None,
    lr: LrOption = None,
    precision: PrecisionOption = None,
    seed: SeedOption = None,
    threads: ThreadsOption = None,
    sets: SetOption = None,
    log: LogOption = "tensorboard",
    init: InitOption = None,
    teacher: TeacherOption = None,
    unlabelled: UnlabelledOption = None,
    classes: ClassesOption = None,
    ignore: IgnoreOption = None,
    background: BackgroundOption = None,
    colours: ColoursOption = None,
    licence: LicenceOption = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Of a checkpoint folder take the architecture alone.")
    ] = False,
) -> None:
    """Train any architecture for segmentation; a checkpoint is trained on, from its weights."""
    from boostformer.training.log import trackers_of
    from search.cli.arch_argument import is_checkpoint, read_architecture

    trackers = trackers_of(log)
    architecture = read_architecture(arch)
    changes = given(
        iterations=iterations, batch_size=batch_size, lr=lr, precision=precision, seed=seed, threads=threads
    ) | set_values(sets)
    if init is not None and from_scratch:
        raise UserError("--init, --from-scratch: give one of them")
    goes_on = init is None and not from_scratch and is_checkpoint(arch)
    start = arch if goes_on else init
    name = recipe or ("continue" if goes_on else "mmseg-160k" if init else "from-scratch")
    chosen = segmentation_recipe(name, changes)
    config = data_of(data, size, None, architecture.size)
    config = with_meaning(config, meaning_of(classes, ignore, background, colours))
    origin = {"recipe_name": name} | licence_given(licence)
    FullTraining(architecture, config, chosen, out, start, origin, None, teacher, unlabelled, trackers).run()


def pretrain(
    arch: Annotated[str, typer.Argument(help="Preset, architecture file, checkpoint folder or RUN_DIR:TRIAL.")],
    out: OutOption,
    data: Annotated[
        Path, typer.Option(help="Folder with train/CLASS/*.jpg and val/CLASS/*.jpg, or Tiny-ImageNet-200.")
    ],
    size: SizeOption = "224x224",
    recipe: RecipeOption = None,
    iterations: IterationsOption = None,
    batch_size: BatchOption = None,
    lr: LrOption = None,
    precision: PrecisionOption = None,
    seed: SeedOption = None,
    threads: ThreadsOption = None,
    sets: SetOption = None,
    log: LogOption = "tensorboard",
    licence: LicenceOption = None,
) -> None:
    """Pre-train an architecture's encoder as a classifier; `train --init` starts from the result."""
    import torch

    from boostformer.architecture import RGB_BANDS
    from boostformer.data import Pictures
    from boostformer.model import Classifier
    from boostformer.training import pretrain as fit
    from boostformer.training import top1
    from boostformer.training.log import trackers_of
    from boostformer.training.threads import using
    from search.cli.arch_argument import is_checkpoint, read_architecture

    changes = given(
        iterations=iterations, batch_size=batch_size, lr=lr, precision=precision, seed=seed, threads=threads
    ) | set_values(sets)
    chosen = classification_recipe(recipe or "pretrain", changes)
    named = licence_given(licence)
    trackers = trackers_of(log)
    shape = size_of(size) or (224, 224)
    data = expanded(data)
    training, validation = Pictures(data, "training"), Pictures(data, "validation")
    architecture = read_architecture(arch).replace(classes=training.num_classes, size=shape, bands=RGB_BANDS)
    if is_checkpoint(arch):
        note(f"{arch}: only its architecture is taken, the weights start from scratch")
    torch.manual_seed(chosen.seed)
    model = Classifier(architecture, chosen.drop_path)
    length, images = number_of(chosen.iterations, "iteration"), number_of(len(training), "image")
    note(f"{length} of {chosen.batch_size}, {images}; the bar shows the time left")
    with sitting(out, chosen, trackers) as (state, live):
        about = {"architecture": architecture.id, "training images": training.content()}
        report = fit(model, training, chosen, size=shape, says=note, resume_dir=state, about=about, log=live)
        first_goes_on()
        model.labels = training.labels
        model.provenance = named | {
            "pretrained_on": data.name,
            "recipe": chosen.model_dump(mode="json"),
            "training": asdict(report),
        }
        model.save_pretrained(out)
        with using(report.threads):
            accuracy = top1(model, validation, size=shape)
        model.provenance["metrics"] = {"split": "validation", "top1": accuracy, "images": len(validation)}
        model.save_pretrained(out)
    note(f"top-1 accuracy {accuracy:.2%} on {number_of(len(validation), 'image')}; saved in {out}")
    next_step(f"boostformer train {shlex.quote(arch)} --init {shlex.quote(str(out))} --data DIR --out checkpoint")
