"""Commands that train one network in full: ``train``, ``retrain``, ``pretrain``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boostformer.errors import UserError, nearest
from boostformer.files import expanded
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
from search.cli.data_summary import say_data
from search.cli.output import RunDir, note
from search.cli.recipe_options import (
    BatchOption,
    ColourOption,
    DataOption,
    FlipOption,
    InitOption,
    IterationsOption,
    LrOption,
    PrecisionOption,
    QuarterTurnsOption,
    RotateOption,
    SeedOption,
    SizeOption,
    ThreadsOption,
    VerticalFlipOption,
    changed,
    checked,
    given,
)
from search.cli.sitting import claim, sitting

if TYPE_CHECKING:
    from boostformer.architecture import Architecture
    from boostformer.data import DataConfig
    from boostformer.training import Metrics, Recipe
    from evaluators.proxy import Proxy

OutOption = Annotated[Path, typer.Option("--out", metavar="CKPT", help="Folder of the new checkpoint.")]
RETRAIN_FACTOR = 10
"""Length of ``retrain`` as a multiple of the longest proxy training, with the same recipe."""


def register(app: typer.Typer) -> None:
    """Add this module's commands to the program."""
    app.command()(retrain)
    app.command()(train)
    app.command()(pretrain)


def retrain(
    run_dir: RunDir,
    out: OutOption,
    trial: Annotated[str | None, typer.Option(help="A trial's number, or an architecture's id.")] = None,
    pick: Annotated[
        str | None, typer.Option(help="knee, which is the default, best-miou, smallest or fastest, on the front.")
    ] = None,
    data: DataOption = None,
    size: SizeOption = None,
    iterations: IterationsOption = None,
    batch_size: BatchOption = None,
    lr: LrOption = None,
    precision: PrecisionOption = None,
    seed: SeedOption = None,
    threads: ThreadsOption = None,
    flip: FlipOption = None,
    vertical_flip: VerticalFlipOption = None,
    quarter_turns: QuarterTurnsOption = None,
    rotate: RotateOption = None,
    colour: ColourOption = None,
    init: InitOption = None,
) -> None:
    """Train a searched network in full: the search's own recipe, ten times as long unless told otherwise.

    The run keeps its mIoU for `boostformer trust`.
    """
    from boostformer.architecture import Architecture
    from results.pareto import PICKS
    from results.pareto import pick as choose
    from results.run import Retraining, note_retraining, read_run
    from search.study.folder import read_experiment

    if trial is not None and pick is not None:
        raise UserError("--trial, --pick: give one of them")
    if pick is not None and pick not in PICKS:
        raise UserError(f"--pick: unknown rule '{pick}'; {nearest(pick, PICKS)}")
    run = read_run(run_dir)
    rule = pick or "knee"
    wanted = rule if trial is None else (int(trial) if trial.isdigit() else trial)
    chosen = choose(run.trials, run.objectives, wanted)
    experiment = read_experiment(run_dir)
    recipe = experiment.proxy.recipe()
    changes = given(
        iterations=iterations,
        batch_size=batch_size,
        lr=lr,
        precision=precision,
        seed=seed,
        threads=threads,
        flip=flip,
        vertical_flip=vertical_flip,
        quarter_turns=quarter_turns,
        rotate=rotate,
        colour=colour,
    )
    length = changes.setdefault("iterations", experiment.proxy.rungs[-1] * RETRAIN_FACTOR)
    share = recipe.warmup_iterations / recipe.iterations
    # A search's trainings share the cores; this one uses them all.
    recipe = changed(recipe, {"threads": None} | changes | {"warmup_iterations": int(share * length)})
    config = data_of(data, size, experiment.data, experiment.data.size)
    origin: dict[str, Any] = {
        "run": run_dir.name,
        "trial": chosen.number,
        "id": chosen.id,
        "picked": f"the {rule} of the front" if trial is None else "as asked",
        "proxy_miou": chosen.miou,
    }
    origin |= {name: found.to_dict() for name in ("latency", "final") if (found := getattr(chosen, name)) is not None}
    searched = experiment.content if data is None else None
    architecture = Architecture.from_dict(chosen.architecture)
    metrics, content = _train(architecture, config, recipe, out, init, {"searched": origin}, searched)
    how = _how(config, content, recipe, init)
    trained = Retraining(chosen.id, metrics.miou, recipe.iterations, recipe.seed, how)
    try:
        note_retraining(run_dir, trained)
    except (UserError, OSError) as error:  # the disk may be full, but the checkpoint is saved
        note(f"the run does not learn of this training: {error}")


def train(
    arch: Annotated[str, typer.Argument(help="Preset, architecture file, checkpoint folder or RUN_DIR:TRIAL.")],
    out: OutOption,
    data: DataOption = None,
    size: SizeOption = None,
    recipe: Annotated[
        str | None, typer.Option(help="proxy, scratch or finetune; by default finetune with --init, else scratch.")
    ] = None,
    iterations: IterationsOption = None,
    batch_size: BatchOption = None,
    lr: LrOption = None,
    precision: PrecisionOption = None,
    seed: SeedOption = None,
    threads: ThreadsOption = None,
    flip: FlipOption = None,
    vertical_flip: VerticalFlipOption = None,
    quarter_turns: QuarterTurnsOption = None,
    rotate: RotateOption = None,
    colour: ColourOption = None,
    init: InitOption = None,
    classes: ClassesOption = None,
    ignore: IgnoreOption = None,
    background: BackgroundOption = None,
    colours: ColoursOption = None,
) -> None:
    """Train any architecture for segmentation."""
    from boostformer.training import recipe as named
    from search.cli.arch_argument import read_architecture, weights_left

    architecture = read_architecture(arch)
    changes = given(
        iterations=iterations,
        batch_size=batch_size,
        lr=lr,
        precision=precision,
        seed=seed,
        threads=threads,
        flip=flip,
        vertical_flip=vertical_flip,
        quarter_turns=quarter_turns,
        rotate=rotate,
        colour=colour,
    )
    name = recipe or ("finetune" if init else "scratch")
    chosen = checked(lambda: named(name, **changes))
    config = data_of(data, size, None, architecture.size)
    config = with_meaning(config, meaning_of(classes, ignore, background, colours))
    remark = weights_left(arch) if init is None else None
    if remark is not None:
        remark += f"; --init {arch} starts from its encoder"
    _train(architecture, config, chosen, out, init, {"recipe_name": name}, remark=remark)


def pretrain(
    arch: Annotated[str, typer.Argument(help="Preset, architecture file, checkpoint folder or RUN_DIR:TRIAL.")],
    out: OutOption,
    data: Annotated[
        Path, typer.Option(help="Folder with train/CLASS/*.jpg and val/CLASS/*.jpg, or Tiny-ImageNet-200.")
    ],
    size: SizeOption = "224x224",
    iterations: IterationsOption = None,
    batch_size: BatchOption = None,
    lr: LrOption = None,
    precision: PrecisionOption = None,
    seed: SeedOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Pre-train an architecture's encoder as a classifier; `train --init` starts from the result."""
    import torch

    from boostformer.architecture import RGB_BANDS
    from boostformer.data import Pictures
    from boostformer.model import Classifier
    from boostformer.training import pretrain as fit
    from boostformer.training import recipe as named
    from boostformer.training import top1
    from boostformer.training.threads import using
    from search.cli.arch_argument import read_architecture, weights_left

    changes = given(
        iterations=iterations, batch_size=batch_size, lr=lr, precision=precision, seed=seed, threads=threads
    )
    recipe = checked(lambda: named("pretrain", **changes))
    shape = size_of(size) or (224, 224)
    data = expanded(data)
    training, validation = Pictures(data, "training"), Pictures(data, "validation")
    architecture = read_architecture(arch).replace(classes=training.num_classes, size=shape, bands=RGB_BANDS)
    if remark := weights_left(arch):
        note(remark)
    torch.manual_seed(recipe.seed)
    model = Classifier(architecture, recipe.drop_path)
    note(f"{recipe.iterations} iterations of {recipe.batch_size}, {len(training)} images; the bar shows the time left")
    with sitting(out) as (state, progress):
        about = {"architecture": architecture.id, "training images": training.content()}
        report = fit(model, training, recipe, size=shape, progress=progress, says=note, resume_dir=state, about=about)
        model.labels = training.labels
        model.provenance = {
            "pretrained_on": data.name,
            "recipe": recipe.model_dump(mode="json"),
            "training": asdict(report),
        }
        model.save_pretrained(out)
        with using(report.threads):
            accuracy = top1(model, validation, size=shape)
        model.provenance["metrics"] = {"split": "validation", "top1": accuracy, "images": len(validation)}
        model.save_pretrained(out)
    note(f"top-1 accuracy {accuracy:.2%} on {len(validation)} images; saved in {out}")


def _train(
    architecture: Architecture,
    data: DataConfig,
    recipe: Recipe,
    out: Path,
    init: Path | None,
    origin: dict[str, Any],
    searched: dict[str, str] | None = None,
    remark: str | None = None,
) -> tuple[Metrics, dict[str, str]]:
    """Train a network in full and write its checkpoint; give its scores, and the digests of the data.

    Args:
        architecture: the network, for whatever classes.
        data: images to train and to score on.
        recipe: how to train.
        out: folder of the checkpoint.
        init: checkpoint whose encoder it starts from; None for random weights.
        origin: what the checkpoint keeps of where the network came from.
        searched: digests of the data as a search found them, which should be these.
        remark: what else is to be said before it begins.
    """
    import torch

    from boostformer.data.cache import data_cache
    from boostformer.training import evaluate, train
    from boostformer.training.threads import using
    from boostformer.weights import checkpoint
    from evaluators.costs.table import CostTable
    from evaluators.proxy import IMAGES_AND_MASKS, Proxy
    from results.summary import human

    claim(out)
    if found := origin.get("searched"):
        note(f"trial {found['trial']}, {found['picked']}, with a proxy mIoU of {found['proxy_miou']:.2%}")
    proxy = Proxy(data, recipe, data_cache())
    say_data(proxy.training)
    if searched is not None and searched != proxy.content:
        where = data.root or data.kind
        note(f"{where}: images or masks have changed since the search; this training's mIoU does not compare with its")
    architecture = architecture.replace(classes=len(proxy.labels), size=data.size, bands=proxy.bands)
    torch.manual_seed(recipe.seed)
    model = proxy.network(architecture, recipe)
    unfit = model.load_encoder(init) if init is not None else []
    if unfit:
        note(f"--init: {init} is of other bands, so these weights start anew: {', '.join(unfit)}")
    trained, deployed = CostTable(deployed=False).cost(architecture), CostTable().cost(architecture)
    height, width = data.size
    folded = ""
    if deployed != trained:
        folded = f" ({human('params', deployed.params)} and {human('macs', deployed.macs)} once it is folded)"
    note(
        f"{architecture.id}: {human('params', trained.params)} params, {human('macs', trained.macs)} MACs{folded} at "
        f"{height}x{width}; {recipe.iterations} iterations of {recipe.batch_size} images, "
        f"{_time(proxy, architecture)}"
    )
    for said in filter(None, (remark, *proxy.remarks())):
        note(said)
    with sitting(out) as (state, progress):
        about = {
            "architecture": architecture.id,
            "data": data.model_dump(mode="json", exclude={"root"}),
            IMAGES_AND_MASKS: proxy.content["training"],
            "init": checkpoint.read_config(init).weights_sha256 if init else None,
        }
        report = train(
            model,
            proxy.training,
            recipe,
            size=data.size,
            progress=progress,
            says=note,
            resume_dir=state,
            about=about,
        )
        if report.resumed_from:
            note(f"resumed after iteration {report.resumed_from}")
        model.labels = proxy.labels
        model.provenance = {
            **origin,
            "data": data.model_dump(mode="json"),
            "content": proxy.content,
            "data_summary": summary.to_dict() if (summary := proxy.training.summary) is not None else None,
            "recipe": recipe.model_dump(mode="json"),
            "initialised_from": init.name if init else None,
            "training": asdict(report) | {"torch": torch.__version__},
        }
        model.save_pretrained(out)
        with using(report.threads):
            metrics = evaluate(model, proxy.validation, size=data.size)
        model.provenance["metrics"] = {"split": "validation", **asdict(metrics)}
        model.save_pretrained(out)
    note(f"mIoU {metrics.miou:.2%}, accuracy {metrics.accuracy:.2%} on {metrics.images} images; saved in {out}")
    return metrics, proxy.content


def _how(data: DataConfig, content: dict[str, str], recipe: Recipe, init: Path | None) -> str:
    """Return the provenance of a score: trainings of equal length are comparable where it is equal."""
    height, width = data.size
    name = f"{data.root.name} ({', '.join(digest[:8] for digest in content.values())})" if data.root else data.kind
    return (
        f"retrained on {name} at {height}x{width}, {recipe.batch_size} images a "
        f"step, rate {recipe.lr:g}, {recipe.schedule}, {recipe.precision}, from {init.name if init else 'scratch'}"
    )


def _time(proxy: Proxy, architecture: Architecture) -> str:
    """Estimate a whole training's time on this machine from a few measured steps."""
    from boostformer.training import TrainingFailure
    from search.worker.progress import duration

    try:
        return f"about {duration(proxy.estimate_seconds(architecture))} in all (an estimate, from a few steps)"
    except TrainingFailure as failure:
        return f"for a time that is unknown: {failure}"
