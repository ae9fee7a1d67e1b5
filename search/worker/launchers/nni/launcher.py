"""NNI as a launcher: an order becomes an NNI experiment, which is found again by the port of its web page."""

from __future__ import annotations

import json
import shlex
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from boostformer.errors import UserError
from boostformer.files import make_folder, replacing
from search.study.folder import LAUNCH
from search.worker.accelerators import visible
from search.worker.launchers.command import joining, joining_here
from search.worker.launchers.launcher import Fleet, State
from search.worker.launchers.nni.experiment import Experiment, connected, require_nni, started
from search.worker.launchers.nni.service import LOOPBACK, experiment_config, read_service
from search.worker.launchers.order import Options, Order
from search.worker.local import cores

RECORD = "nni.json"
"""Names, in the run's folder for launchers, the experiment that was started last and its port."""


class NniOptions(Options):
    """The options that only NNI knows."""

    service: Path | None = Field(None, description="the section trainingService of NNI's configuration, in a file")
    port: int = Field(8080, ge=1025, le=65534, description="of the web page; a service uses the next one too")
    host: str = Field(LOOPBACK, description="with service: where workers on other machines report to")


class Nni:
    """NNI. What a worker needs beyond its threads is for NNI's own section, ``service``, to say."""

    engine: ClassVar[str] = "nni"
    options: ClassVar[type[Options]] = NniOptions
    lasts: ClassVar[bool] = True
    scales: ClassVar[bool] = False
    gathers: ClassVar[bool] = False
    trains: ClassVar[bool] = False

    def __init__(self, order: Order, options: NniOptions) -> None:
        self._order, self._options = order, options
        needs = order.needs
        if needs.memory is not None or needs.gpus:
            raise UserError(
                "--gpus, --memory: --on nni takes them from NNI's own section; write them into --service FILE"
            )
        self._service = read_service(self._options.service)
        self._addresses = self._service.listening(self._options.host)
        require_nni()
        self._command = self._here() if self._service.is_local else _elsewhere(order)
        self._record = order.run_dir / LAUNCH / RECORD

    def plan(self) -> str:
        with tempfile.TemporaryDirectory() as stand_in:  # NNI makes none without its folder
            text = json.dumps(self._config(Path(stand_in)).json(), indent=2)
        return text.replace(stand_in, str(self._folder))

    def start(self) -> Fleet:
        experiment = started(self._config(self._folder), self._options.port, self._addresses)
        make_folder(self._record.parent)
        with replacing(self._record) as path:
            path.write_text(
                json.dumps({"id": experiment.handle.id, "port": experiment.port, "workers": self._order.workers.most}),
                encoding="utf-8",
            )
        return NniFleet(experiment, self._record, self._order.workers.most)

    def find(self) -> Fleet | None:
        try:
            known: dict[str, Any] = json.loads(self._record.read_text(encoding="utf-8"))
            name, port, count = str(known["id"]), int(known["port"]), int(known["workers"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        experiment = connected(name, port, self._folder)
        return NniFleet(experiment, self._record, count) if experiment is not None else None

    @property
    def _folder(self) -> Path:
        return self._order.run_dir / "nni"

    def _config(self, folder: Path) -> Any:
        order = self._order
        name, count = order.run_dir.name, order.workers.most
        return experiment_config(self._service, name, self._command, count, folder, self._options.host)

    def _here(self) -> str:
        """Return the shell command that joins the run on this machine.

        Without a file that names a service, the workers also take turns at the CUDA devices.
        """
        order, service = self._order, self._options.service
        if order.data is not None:
            raise UserError(f"--data '{order.data}': is for workers on other machines, and needs --service")
        threads = f"OMP_NUM_THREADS={order.needs.cores or max(1, cores() // order.workers.most)}"
        devices = len(visible()) if service is None else 0
        turn = f" --device $((NNI_TRIAL_SEQ_ID % {devices}))" if devices else ""
        # In this folder, where a run finds what is named relative to it; without a shell in between, for NNI's signals.
        words = shlex.join(joining_here(order))
        return f"cd {shlex.quote(str(Path.cwd()))} && exec env {threads} {words}{turn}"


def _elsewhere(order: Order) -> str:
    """Return the shell command that joins the run on another machine, which keeps its folder in ``~/boostformer``."""
    return f"mkdir -p ~/boostformer && cd ~/boostformer && exec {shlex.join(joining(order))}"


class NniFleet:
    """The workers of an experiment. NNI calls a worker failed that was killed, and does not replace it."""

    pause = 1.0

    def __init__(self, experiment: Experiment, record: Path, count: int) -> None:
        self._experiment, self._record, self._count = experiment, record, count
        self.title = f"NNI's web page, for you on this machine alone: http://{LOOPBACK}:{experiment.port}"

    def workers(self) -> dict[int, State]:
        self._experiment.is_done()  # raises where NNI has given up
        unseen = dict.fromkeys(range(self._count), State.WAITING)
        return unseen | self._experiment.workers()

    def last_words(self, number: int) -> str:
        return self._experiment.last_words(number)

    def stop(self) -> None:
        self._experiment.stop()
        self._record.unlink(missing_ok=True)
