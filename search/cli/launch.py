"""The command `launch`: the workers of a run, started and shown by NNI."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from boostformer.errors import UserError
from boostformer.extensions import named
from results.run import read_run
from results.trial import Status
from search.cli.outcome import conclude
from search.cli.output import RunDir, note

_SHARE = 0.1
"""Largest share of the time spent on reading the run to show its progress."""


def register(app: typer.Typer) -> None:
    app.command()(launch)


def launch(
    run_dir: RunDir,
    workers: Annotated[int, typer.Option(min=1, help="Processes, over all machines.")] = 1,
    service: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml",
            help="Where they run: the section 'trainingService' of NNI's configuration, for other machines over SSH "
            "or Kubernetes. Without it, this machine.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the images are on other machines.", show_default=False)
    ] = None,
    port: Annotated[
        int, typer.Option(min=1025, max=65534, help="Of the web page; --service uses the next one too.")
    ] = 8080,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="With --service: where workers on other machines report to, besides 127.0.0.1."
        ),
    ] = "127.0.0.1",
) -> None:
    """Let NNI start workers of a run, and show them on its web page; Ctrl-C stops them."""
    from search.worker.launchers.nni.experiment import follow, require_nni, running
    from search.worker.launchers.nni.service import LOOPBACK, experiment_config, read_service

    found = read_service(service)
    addresses = found.listening(host)
    require_nni()
    progress = _Progress(run_dir, workers)
    if progress.is_complete:
        note("all networks of this run are tried; a search with more --trials adds some")
        conclude(run_dir, progress.latency)
        return
    command = _here(run_dir, data, workers, service) if found.is_local else _elsewhere(run_dir, data)
    folder = (run_dir / "nni").absolute()
    config = experiment_config(found, run_dir.absolute().name, command, workers, folder, host)
    try:
        with running(config, port, addresses) as experiment:
            note(f"NNI's web page, for you on this machine alone: http://{LOOPBACK}:{port}")
            ends = follow(experiment, note, progress.show)
    except KeyboardInterrupt:
        note("stopped; the same command goes on with the run")
        raise typer.Exit(130) from None
    progress.show(now=True)
    # A worker ends by itself only when there is nothing more to do.
    if "ended" not in ends.values():
        note("all workers ended early; the same command goes on with the run")
        raise typer.Exit(1)
    conclude(run_dir, progress.latency)


def _here(run_dir: Path, data: Path | None, workers: int, service: Path | None) -> str:
    """Return the shell command that joins the run on this machine.

    Args:
        run_dir: the run's folder.
        data: must be None: workers here find the run's own data.
        workers: how many divide this machine's threads.
        service: a file that names a training service; without it the workers also take turns at the CUDA devices.
    """
    if data is not None:
        raise UserError(f"--data '{data}': is for workers on other machines, and needs --service")
    from search.worker.accelerators import visible
    from search.worker.local import PROGRAM, cores

    threads = f"OMP_NUM_THREADS={max(1, cores() // workers)}"
    devices = len(visible()) if service is None else 0
    turn = f" --device $((NNI_TRIAL_SEQ_ID % {devices}))" if devices else ""
    # In this folder, where a run finds what is named relative to it; without a shell in between, for NNI's signals.
    words = [*PROGRAM, *_imports(), "worker", str(run_dir.absolute())]
    return f"cd {shlex.quote(str(Path.cwd()))} && exec env {threads} {shlex.join(words)}{turn}"


def _elsewhere(run_dir: Path, data: Path | None) -> str:
    """Return the shell command that joins the run on another machine, which keeps its folder in ``~/boostformer``."""
    from results.storage.location import Database, storage_of

    where = storage_of(run_dir)
    if not isinstance(where, Database):
        raise UserError(f"{run_dir}: is kept in a file; for workers on other machines search with --storage")
    words = ["boostformer", *_imports(), "worker", "--storage", where.url, "--study", where.study]
    words += ["--data", str(data)] if data is not None else []
    return f"mkdir -p ~/boostformer && cd ~/boostformer && exec {shlex.join(words)}"


def _imports() -> list[str]:
    """Return the options that have a worker import the same modules; files must lie at the same place there."""
    return [word for module in named() for word in ("--import", module)]


class _Progress:
    """Display of the trials that ended, read from the run, since the workers' own output goes to NNI."""

    def __init__(self, run_dir: Path, workers: int) -> None:
        from search.config.opening import OpenExperiment
        from search.study.folder import read_experiment
        from search.study.queue import Queue
        from search.worker.progress import ConsoleReporter

        experiment = read_experiment(run_dir)
        self.latency = experiment.latency
        self._run_dir, self._reporter = run_dir, ConsoleReporter(workers)
        standing = Queue(run_dir, OpenExperiment(experiment), note).standing()
        self._reporter.begins(standing)
        self.is_complete = standing.is_complete
        self._told = {trial.number for trial in read_run(run_dir).trials if trial.status is not Status.RUNNING}
        self._next = 0.0

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
