"""The command `launch`: workers of a run, started and followed by an engine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from boostformer.errors import UserError
from results.run import read_run
from results.trial import Status
from search.cli.launched import follow_training, followed, training_of
from search.cli.outcome import conclude
from search.cli.output import note

_SHARE = 0.1
"""Largest share of the time spent on reading the run to show its progress."""


def register(app: typer.Typer) -> None:
    app.command()(launch)


def launch(
    context: typer.Context,
    run_dir: Annotated[
        Path, typer.Argument(metavar="RUN_DIR", help="The folder of a run; with --train also ARCH.", show_default=False)
    ],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- OPTION", help="With --train: the options of `retrain`, or of `train`.", show_default=False
        ),
    ] = None,
    on: Annotated[str, typer.Option("--on", metavar="ENGINE", help="local, slurm, kubernetes, ray or nni.")] = "nni",
    workers: Annotated[
        str, typer.Option(metavar="N|MIN:MAX", help="Processes, over all machines; a range where the engine can.")
    ] = "1",
    train: Annotated[
        bool,
        typer.Option(
            "--train",
            help="Train one network by all processes together: `retrain` of a run's, else `train`, by what stands "
            "behind --.",
        ),
    ] = False,
    cores: Annotated[int | None, typer.Option(min=1, help="CPU cores of each worker.", show_default=False)] = None,
    gpus: Annotated[
        float, typer.Option(min=0, help="GPUs of each worker; --on ray also a share of one, such as 0.5.")
    ] = 0.0,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory of each worker, such as 8G.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the images are on other machines.", show_default=False)
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="NAME=VALUE", help="What only this engine knows; may be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be submitted, and do nothing.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Do not follow the workers; the same command without it does.")
    ] = False,
    service: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml",
            help="--on nni: where they run: the section 'trainingService' of NNI's configuration, for other machines "
            "over SSH or Kubernetes. Without it, this machine.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1025, max=65534, help="--on nni: of the web page, 8080; --service uses the next one too."),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="--on nni, with --service: where workers on other machines report to, besides 127.0.0.1.",
        ),
    ] = None,
) -> None:
    """Let an engine start workers of a run, and follow them; Ctrl-C stops them, each giving back its trial.

    With --train: the processes of one training, such as
    `boostformer launch RUN_DIR --on slurm --workers 2 --train -- --pick knee --out CKPT`.
    """
    from search.worker.launchers.order import Needs, Order, Workers, read_memory
    from search.worker.launchers.registry import launcher_class, open_launcher

    known = {"service": service, "port": port, "host": host}
    options = _options(option or []) | {name: str(value) for name, value in known.items() if value is not None}
    needs = Needs(cores, gpus, read_memory(memory) if memory is not None else None)
    command = None
    if train:
        run_dir, command = training_of(context, run_dir, words or [])
    elif words:
        raise UserError(f"{words[0]}: what stands behind -- is for --train")
    order = Order(run_dir.absolute(), Workers.read(workers), needs, data, options, command)
    if detach and not launcher_class(on).lasts:
        raise UserError(f"--detach: workers --on {on} end with the process that started them; leave it out")
    launcher = open_launcher(on, order)
    if dry_run:
        print(launcher.plan())
        return
    if train:
        follow_training(launcher, run_dir, detach)
        return
    progress = _Progress(run_dir, order.workers.most)
    if progress.is_complete():
        note("all networks of this run are tried; a search with more --trials adds some")
        conclude(run_dir, progress.latency)
        return
    ended = followed(launcher, run_dir, detach, lambda fleet: progress.show())
    if ended is None:
        return
    progress.show(now=True)
    # A worker ends by itself only when there is nothing more to do.
    if not ended and not progress.is_complete():
        note("all workers ended early; the same command goes on with the run")
        raise typer.Exit(1)
    conclude(run_dir, progress.latency)


def _options(words: list[str]) -> dict[str, str]:
    """Read ``NAME=VALUE``; :class:`UserError` for what is not of this form."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise UserError(f"--option '{word}': is not NAME=VALUE, such as partition=gpu")
        found[name.replace("-", "_")] = value
    return found


class _Progress:
    """Display of the trials that ended, read from the run, since the workers' own output goes to the engine."""

    def __init__(self, run_dir: Path, workers: int) -> None:
        from search.config.opening import OpenExperiment
        from search.study.folder import read_experiment
        from search.study.queue import Queue
        from search.worker.progress import ConsoleReporter

        experiment = read_experiment(run_dir)
        self.latency = experiment.latency
        self._run_dir, self._reporter = run_dir, ConsoleReporter(workers)
        self._queue = Queue(run_dir, OpenExperiment(experiment), note)
        self._reporter.begins(self._queue.standing())
        self._told = {trial.number for trial in read_run(run_dir).trials if trial.status is not Status.RUNNING}
        self._next = 0.0

    def is_complete(self) -> bool:
        return self._queue.standing().is_complete

    def show(self, *, now: bool = False) -> None:
        """Show the trials that ended since the last look, if it is time for another; a long run is read less often."""
        began = time.monotonic()
        if began < self._next and not now:
            return
        try:
            trials = read_run(self._run_dir).trials
        except UserError as error:  # a database may be away for a while, and the workers wait for it
            note(f"the run cannot be read now: {error}")
            trials = []
        for trial in trials:
            if trial.status is Status.RUNNING or trial.number in self._told:
                continue
            self._told.add(trial.number)
            if trial.status.concludes:
                self._reporter.ended(trial)
            elif trial.status is not Status.INTERRUPTED:
                self._reporter.set_aside(trial)
        self._next = time.monotonic() + (time.monotonic() - began) / _SHARE
