"""The command ``init``: a run file for a data set, after a look at it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boostformer.errors import UserError
from boostformer.files import exists, expanded, is_folder, located
from search.cli.data_argument import (
    BackgroundOption,
    ClassesOption,
    ColoursOption,
    IgnoreOption,
    meaning_of,
    with_kind,
    with_meaning,
)
from search.cli.first_run import BATCH, PIXELS, PIXELS_ON_GPU, SHARE, SPACES, USED, Plan, fitted, pace, sizes
from search.cli.output import busy, next_step, note

if TYPE_CHECKING:
    from boostformer.data.check import Report
    from boostformer.data.config import DataConfig

MINUTES = 60
SCENES = (64, 64)
"""Size of generated scenes."""


def register(app: typer.Typer) -> None:
    """Add this module's command to the program."""
    app.command()(init)


def init(
    data: Annotated[
        str | None,
        typer.Argument(metavar="[DATA]", help="A data set's folder; by default generated scenes.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="RUN.yaml", help="The file to write.")] = Path("run.yaml"),
    minutes: Annotated[float, typer.Option(min=1, help="About how long the search is to take here.")] = MINUTES,
    seed: Annotated[int, typer.Option(min=0, help="Of the search.")] = 0,
    kind: Annotated[str | None, typer.Option(help="Layout of the data set, where it is not to be recognised.")] = None,
    classes: ClassesOption = None,
    ignore: IgnoreOption = None,
    background: BackgroundOption = None,
    colours: ColoursOption = None,
) -> None:
    """Write a run file for `search` after a look at the data, with comments, and trials that fit the minutes."""
    if exists(out):
        raise UserError(f"{out}: exists already and is not overwritten; choose another --out, or remove it")
    if out.suffix not in (".yaml", ".yml"):
        raise UserError(f"--out: '{out}' does not end in .yaml, as a run file does")
    said = meaning_of(classes, ignore, background, colours)
    if data is None:
        if said or kind is not None:
            raise UserError("--kind, --classes, --ignore, --background, --colours: are about DATA, which is missing")
        plans = _for_scenes(seed)
    else:
        plans = _for_folder(data, kind, said, seed)
    plan, workers, seconds = _chosen(plans, minutes)
    runs = out.with_suffix("").name if data is None else located(expanded(data)).name
    command = shlex.join(["boostformer", "search", str(out), "--out", f"runs/{runs}"])
    _write(out, plan, command)
    _say(plan, out, workers, seconds, minutes)
    next_step(command)


def _for_scenes(seed: int) -> list[Plan]:
    section = {"kind": "scenes"}
    return [Plan(section, SCENES, "tiny", BATCH, seed, {"kind": "generated images, to try a search with"})]


def _for_folder(data: str, kind: str | None, said: dict[str, Any], seed: int) -> list[Plan]:
    """Look at a folder, and give the plans that suit it, the heaviest first."""
    from search.worker.accelerators import visible

    root = expanded(data)
    if not is_folder(root):
        raise UserError(f"'{data}' is no folder; allowed: a data set's folder, or nothing, for generated scenes")
    from boostformer.data.config import DataConfig

    config = with_meaning(with_kind(DataConfig(root=located(root)), kind), said)
    report = _looked_at(config)
    section, remarks = _section(config, report)
    training = report.summary.images["training"] if report.summary is not None else 0
    kept = int(training * (1 - section.get("validation_share", 0)))
    batch = max(2, min(BATCH, kept))
    plans = []
    for size, keeps in sizes(report.shapes, PIXELS_ON_GPU if visible() else PIXELS):
        own, beside = dict(section), dict(remarks)
        if not keeps:
            own["fit"] = "short_side"
            beside["fit"] = "images differ in their proportions: only their shorter side comes to the size"
        beside["size"] = f"height x width at which networks see images of {_of(report)} (width x height)"
        plans.append(Plan(own, size, next(iter(SPACES)), batch, seed, beside))
    return [*plans, replace(plans[-1], space="tiny")]


def _looked_at(config: DataConfig) -> Report:
    """Check a data set; UserError with the first fault, or where there is nothing to train on."""
    from boostformer.data.cache import data_cache
    from boostformer.data.check import check

    note(f"reading {config.root} …")
    report = check(config, data_cache())
    if report.faults:
        first, more = report.faults[0], len(report.faults) - 1
        others = f"; {more} more: " if more else "; "
        raise UserError(
            f"{first.file}: {first.fault}; {first.remedy}{others}`boostformer data check {config.root}` lists all"
        )
    if report.summary is None or not report.summary.images.get("training"):
        raise UserError(f"{config.root}: has no training part; `boostformer data check` says what it has")
    return report


def _section(config: DataConfig, report: Report) -> tuple[dict[str, Any], dict[str, str]]:
    """Give the section ``data`` but for the size, and what is said beside its keys."""
    from boostformer.data.config import AUTO
    from boostformer.data.formats import recognised

    assert report.summary is not None and report.meaning is not None and config.root is not None
    summary = report.summary
    kind = recognised(config.root).kind if config.kind == AUTO else config.kind
    section: dict[str, Any] = {"kind": kind, "root": str(config.root)}
    said = config.model_dump(mode="json", include={"classes", "ignore", "background", "colours"}, exclude_none=True)
    section |= said
    counts = ", ".join(f"{count} {split}" for split, count in summary.images.items())
    remarks = {"kind": summary.found, "root": f"{counts} images; {len(report.meaning.labels)} classes"}
    ignored = [value for value, label in report.meaning.table().items() if label == report.meaning.ignored]
    if kind == "ade20k" and ignored and not said:  # other layouts say it themselves
        section["ignore"] = ignored
        share = f"{summary.share(summary.ignored) or 0:.1%}"
        remarks["ignore"] = f"{share} of the pixels; a 0 that is a class: `ignore: [255]` and `background: NAME`"
    if not summary.images.get("validation"):
        section["validation_share"] = SHARE
        remarks["validation_share"] = "there is no validation part: so much of the training part becomes one"
    return section, remarks


def _of(report: Report) -> str:
    assert report.summary is not None and report.summary.sizes is not None
    return str(report.summary.sizes)


@busy("measuring how long trainings take …")
def _chosen(plans: list[Plan], minutes: float) -> tuple[Plan, int, float]:
    """Take the first plan that fits the minutes, or the last; with the number of workers and a trial's seconds."""
    from boostformer.training import TrainingFailure
    from search.worker.local import default_workers

    workers = default_workers(10_000, is_disturbed=False)
    for plan in plans:
        try:
            step, scoring = pace(plan, workers)
        except TrainingFailure as failure:
            if plan is plans[-1]:
                raise UserError(f"a step of training fails: {failure}") from None
            continue
        if (found := fitted(plan, USED * 60 * minutes * workers, step, scoring)) is not None:
            return found, workers, found.iterations * step + scoring
    return plan, workers, plan.iterations * step + scoring


def _write(out: Path, plan: Plan, command: str) -> None:
    """Write the run file; data below its folder are named from there, so that they may move with it."""
    from boostformer.files import replacing

    root, here = Path(plan.data.get("root", ".")), out.absolute().parent.resolve()
    if root.is_relative_to(here) and root != here:
        plan = replace(plan, data=plan.data | {"root": str(root.relative_to(here))})
    with replacing(out, parents=True) as part:
        part.write_text(plan.text(command), encoding="utf-8")


def _say(plan: Plan, out: Path, workers: int, seconds: float, minutes: float) -> None:
    """Say what was chosen and why."""
    from search.worker.progress import duration

    height, width = plan.size
    remarks, budgets = plan.remarks, SPACES[plan.space]
    limits = " and ".join(f"{key} at most {budgets[key]}" for key in ("params", "macs"))
    inside = min(workers, plan.trials)
    whole = duration(seconds * plan.trials / USED / inside)
    at = f"one of {inside} workers" if inside > 1 else "one worker"
    lines = [
        ("data", f"{remarks['kind']}" + (f"; {remarks['root']}" if "root" in remarks else "")),
        ("size", f"{height}x{width}" + (f", {remarks['size']}" if "size" in remarks else "")),
        ("space", f"{plan.space}, with {limits} of {budgets['baseline']}'s"),
        ("proxy", f"{plan.iterations} iterations of {plan.batch} images: {duration(seconds)} for a trial on {at}"),
        ("search", f"{plan.trials} trials, {whole} in all"),
    ]
    lines += [(key, remarks[key]) for key in ("fit", "ignore", "validation_share") if key in remarks]
    note("\n".join(f"{name:<8} {text}" for name, text in lines))
    if seconds * plan.trials / inside > 60 * minutes:
        note(f"more than the {minutes:g} minutes that were asked for: fewer or shorter trials would tell nothing")
    note(f"written: {out}")
