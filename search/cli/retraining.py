"""The command ``retrain``: networks of a search are trained in full, and what other commands need for the same."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boostformer.errors import UserError, nearest
from boostformer.shown import number_of
from search.cli.data_argument import data_of
from search.cli.full_training import FullTraining
from search.cli.output import RunDir, WhereOption, note
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
    checked,
    given,
    licence_given,
    segmentation_recipe,
    set_values,
)
from search.cli.teaching import TeacherOption, UnlabelledOption

if TYPE_CHECKING:
    from boostformer.start import Trained
    from boostformer.training import Metrics, Recipe
    from results.run import Run
    from results.trial import Trial
    from search.config.experiment import Experiment
    from search.config.sections import ProxyConfig

FACTOR = 10
"""Length of a retraining as a multiple of the search's longest training, with the same recipe."""


def register(app: typer.Typer) -> None:
    """Add this module's command to the program."""
    app.command()(retrain)


def retrain(
    run_dir: RunDir,
    out: OutOption,
    recipe: RecipeOption = None,
    trial: Annotated[str | None, typer.Option(help="A trial's number, or an architecture's id.")] = None,
    pick: Annotated[
        str | None, typer.Option(help="knee, which is the default, best-miou, smallest or fastest, on the front.")
    ] = None,
    where: WhereOption = None,
    data: DataOption = None,
    size: SizeOption = None,
    iterations: IterationsOption = None,
    batch_size: BatchOption = None,
    lr: LrOption = None,
    precision: PrecisionOption = None,
    seed: SeedOption = None,
    threads: ThreadsOption = None,
    sets: SetOption = None,
    log: LogOption = "tensorboard",
    init: InitOption = None,
    from_scratch: Annotated[
        bool,
        typer.Option("--from-scratch", help="Leave the weights that it has from a search whose networks inherit."),
    ] = False,
    teacher: TeacherOption = None,
    unlabelled: UnlabelledOption = None,
    licence: LicenceOption = None,
) -> None:
    """Train a searched network in full: by default with the search's own recipe, ten times as long.

    It goes on from the weights that it has from a search whose networks inherit. The run keeps its mIoU for
    `boostformer trust`.
    """
    from boostformer.architecture import Architecture
    from boostformer.training.log import trackers_of
    from results.pareto import PICKS
    from results.pareto import pick as choose
    from results.run import read_run
    from search.cli.arch_argument import trial_named
    from search.study.folder import read_experiment

    trackers, named = trackers_of(log), licence_given(licence)
    if trial is not None and pick is not None:
        raise UserError("--trial, --pick: give one of them")
    if trial is not None and where is not None:
        raise UserError("--trial, --where: give one of them; --where is for what --pick picks")
    if init is not None and from_scratch:
        raise UserError("--init, --from-scratch: give one of them")
    if pick is not None and pick not in PICKS:
        raise UserError(f"--pick: unknown rule '{pick}'; {nearest(pick, PICKS)}")
    run = read_run(run_dir)
    rule = pick or "knee"
    wanted = rule if trial is None else trial_named(trial)
    chosen = choose(run.trials, run.objectives, wanted, where)
    experiment = read_experiment(run_dir)
    changes = given(
        iterations=iterations, batch_size=batch_size, lr=lr, precision=precision, seed=seed, threads=threads
    ) | set_values(sets)
    start = init or (None if from_scratch else inherited(run_dir, experiment, chosen))
    plan = FullTraining(
        Architecture.from_dict(chosen.architecture),
        data_of(data, size, experiment.data, experiment.data.size),
        recipe_of(experiment.proxy, recipe, changes),
        out,
        start,
        {"searched": origin(run_dir, run, experiment, chosen, rule if trial is None else None)} | named,
        begins(run, chosen, start),
        teacher=teacher,
        unlabelled=unlabelled,
        trackers=trackers,
    )
    carry_out(plan, run_dir, experiment.content if data is None else None)


def recipe_of(proxy: ProxyConfig, name: str | None, changes: dict[str, Any]) -> Recipe:
    """Choose how a network of a search is trained in full.

    Args:
        proxy: how the search trains.
        name: a recipe's name or file; by default it is the search's own, :data:`FACTOR` times as long.
        changes: of the recipe, from options.
    """
    from boostformer.training.recipes import with_changes

    if name is not None:
        return segmentation_recipe(name, {"seed": proxy.seed} | changes)
    # A search's trainings share the cores; this one uses them all.
    longer = {"iterations": proxy.rungs[-1] * FACTOR, "threads": None}
    return checked(lambda: with_changes(proxy.recipe(), longer | changes))


def inherited(run_dir: Path, experiment: Experiment, chosen: Trial) -> Trained | None:
    """Read the weights that a network has from a search whose networks inherit; None of another search.

    :class:`UserError` when they should be there, and are not.
    """
    from dataclasses import replace

    from search.study.weights import weights_of

    if not experiment.inherit:
        return None
    try:
        found = weights_of(run_dir, chosen)
    except UserError as error:
        otherwise = shlex.join(["boostformer", "retrain", str(run_dir), "--trial", str(chosen.number)])
        raise UserError(f"{error}: {otherwise} --from-scratch --out CKPT") from None
    return replace(found, licence=_licence(experiment))


def begins(run: Run, chosen: Trial, init: Trained | str | None) -> str | None:
    """Say what the training of a network of the run begins from; None where that is said when it is read."""
    from results.lineage import lineage, told

    if init is None:
        return "starts from scratch"
    if isinstance(init, str):
        return None
    line = told(lineage(run.trials, chosen))
    behind = number_of(chosen.behind, "iteration")
    return f"goes on from the weights of trial {chosen.number}, {behind} behind them: {line}"


def _licence(experiment: Experiment) -> str | None:
    """Read the licence of the search's start, which what descends from it has, too; None where it is not at hand."""
    from boostformer.weights.licence import licence_of

    start = experiment.start
    return licence_of(Path(start.place)) if start is not None and Path(start.place).is_dir() else None


def origin(run_dir: Path, run: Run, experiment: Experiment, chosen: Trial, rule: str | None) -> dict[str, Any]:
    """Give what a checkpoint keeps of the search that its network is from; ``rule`` picked it, if any did."""
    found: dict[str, Any] = {
        "run": run_dir.name,
        "trial": chosen.number,
        "id": chosen.id,
        "picked": f"the {rule} of the front" if rule is not None else "as asked",
        "proxy_miou": chosen.miou,
        "budgets": experiment.budgets,
        "counted": experiment.counted,
    }
    if experiment.inherit:
        found["lineage"] = _lineage(run, experiment, chosen)
    return found | {
        name: kept.to_dict() for name in ("latency", "final") if (kept := getattr(chosen, name)) is not None
    }


def _lineage(run: Run, experiment: Experiment, chosen: Trial) -> dict[str, Any]:
    from results.lineage import begins_at_start, changes, lineage

    members, start = lineage(run.trials, chosen), experiment.start
    found: dict[str, Any] = {
        "iterations": chosen.behind,
        "trials": [{"trial": one.number, "id": one.id, "miou": one.miou, "behind": one.behind} for one in members],
    }
    if start is not None and begins_at_start(members):
        own = {key: chosen.architecture[key] for key in ("stem", "stages", "decoder")}
        found["start"] = {"place": start.place, "sha256": start.weights}
        found["changes"] = changes({key: start.architecture[key] for key in own}, own)
    return found


def carry_out(plan: FullTraining, run_dir: Path, searched: dict[str, str] | None) -> Metrics:
    """Train a network of a search, and let the run know of its score.

    Args:
        plan: the training, with the network's :func:`origin`.
        run_dir: the run.
        searched: digests of the data as the search found them, where these should be the same.
    """
    from results.run import Retraining, note_retraining

    metrics, content = plan.run(searched)
    recipe, chosen = plan.recipe, plan.origin["searched"]["id"]
    trained = Retraining(chosen, metrics.miou, recipe.iterations, recipe.seed, plan.how(content))
    try:
        note_retraining(run_dir, trained)
    except (UserError, OSError) as error:  # the disk may be full, but the checkpoint is saved
        note(f"the run does not learn of this training: {error}")
    return metrics
