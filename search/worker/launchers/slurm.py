"""Slurm as a launcher: one array job, each task of which is a worker; or one job whose tasks train together.

`sbatch` is called directly. submitit (1.5.4) was considered: it follows jobs by `sacct` alone, which answers only where
a cluster keeps accounts, and ignores SIGTERM, by which Slurm announces that a job is preempted.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from boostformer.errors import UserError
from boostformer.files import make_folder
from boostformer.shown import one_line
from search.study.folder import LAUNCH
from search.worker.launchers.command import joining, training, variables
from search.worker.launchers.launcher import Fleet, State
from search.worker.launchers.local import last_line
from search.worker.launchers.order import Options, Order
from search.worker.local import PROGRAM

PATIENCE = 120.0
"""Seconds that workers have to give back their trials before Slurm ends them."""
_WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "SUSPENDED", "STOPPED")
_WORKING = ("RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "RESIZING")
_STATES = dict.fromkeys(_WAITING, State.WAITING) | dict.fromkeys(_WORKING, State.WORKING) | {"COMPLETED": State.ENDED}
_BY_SIGNAL = ("130", "137", "143")
_WORKER = """\
# Slurm tells this shell alone what is to come; what runs is saved or given back, as on Ctrl-C.
trap 'stopped=yes; kill -{signal} $worker' TERM
trap 'stopped=yes; again=yes; kill -{signal} $worker' USR1
for _ in {{1..20}}; do
  {words} &
  worker=$!
  while wait $worker; code=$?; kill -0 $worker 2>/dev/null; do :; done
  [ $code = 137 ] && [ -z "$stopped" ] || break  # killed, perhaps for want of memory: another takes its place
done
# USR1: the job's time is over, but not the work.
[ -z "$again" ] || scontrol requeue "{job}"
exit $code
"""
_TASK = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
_TOGETHER = """\
# Where the processes meet: on the first node, which is this one.
export MASTER_ADDR=$(hostname) MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
# Each process sees all GPUs that the job has on its node, and takes its own: srun, asked for none, gives each step all.
unset SLURM_GPUS_PER_TASK SLURM_GPU_BIND SLURM_TRES_PER_TASK SLURM_TRES_BIND
"""
_PLACED = 'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS exec "$@"'


class SlurmOptions(Options):
    """The options that only Slurm knows; all but the last two are as sbatch has them."""

    partition: str | None = Field(None, description="where the jobs run")
    account: str | None = Field(None, description="who is charged")
    qos: str | None = Field(None, description="quality of service")
    constraint: str | None = Field(None, description="features that a node must have")
    time: str | None = Field(None, description="limit, such as 8:00:00; a job whose time is over is queued again")
    notice: int = Field(120, ge=5, description="seconds before the limit at which a worker gives back its trial")
    extra: str = Field("", description="any further options of sbatch, as one text")


class Slurm:
    """Slurm, through the programs that its users have: sbatch, squeue, scancel and scontrol."""

    engine: ClassVar[str] = "slurm"
    options: ClassVar[type[Options]] = SlurmOptions
    lasts: ClassVar[bool] = True
    scales: ClassVar[bool] = True
    gathers: ClassVar[bool] = False
    trains: ClassVar[bool] = True

    def __init__(self, order: Order, options: SlurmOptions) -> None:
        self._order, self._options = order, options
        self._folder = order.run_dir / LAUNCH
        self._cores = order.needs.cores or 1
        self._gpus = order.needs.whole_gpus
        self._environment = {"OMP_NUM_THREADS": str(self._cores)}
        if order.training is None:
            words = joining(order, PROGRAM, str(order.run_dir))
            self._body = _WORKER.format(words=shlex.join(words), signal="TERM", job=_TASK)
        else:
            self._environment |= variables(order)
            step = ["srun", "--kill-on-bad-exit=1", f"--cpus-per-task={self._cores}", "bash", "-c", _PLACED, "training"]
            words = [*step, *training(order, PROGRAM)]  # srun passes on USR1 to all of them
            self._body = _TOGETHER + _WORKER.format(words=shlex.join(words), signal="USR1", job="$SLURM_JOB_ID")

    def plan(self) -> str:
        order, options = self._order, self._options
        asked = {name: getattr(options, name) for name in ("partition", "account", "qos", "constraint", "time")}
        head: dict[str, object] = {"job-name": order.name}
        if order.training is None:
            head |= {"array": f"0-{order.workers.most - 1}", "ntasks": 1, "output": self._folder / "slurm-%a.log"}
            head |= {"gres": f"gpu:{self._gpus}"} if self._gpus else {}
        else:
            head |= {"ntasks": order.workers.most, "output": self._folder / "slurm-0.log"}
            head |= {"gpus-per-task": self._gpus} if self._gpus else {}
        head |= {"open-mode": "append", "chdir": Path.cwd(), "cpus-per-task": self._cores}
        if order.needs.memory is not None:  # "mem" is of a node
            alone = order.training is None
            share = order.needs.memory if alone else -(-order.needs.memory // self._cores)
            head |= {"mem" if alone else "mem-per-cpu": f"{share}M"}
        head |= {name: value for name, value in asked.items() if value is not None}
        lines = [f"--{name}={shlex.quote(str(value))}" for name, value in head.items()]
        lines += ["--requeue", f"--signal=B:USR1@{options.notice}", *map(shlex.quote, shlex.split(options.extra))]
        environment = [f"export {name}={value}" for name, value in self._environment.items()]
        return "\n".join(["#!/bin/bash", *(f"#SBATCH {line}" for line in lines), *environment, self._body])

    def start(self) -> Fleet:
        make_folder(self._folder)
        for old in self._folder.glob("slurm-*.log"):
            old.unlink()
        number = _ask(["sbatch", "--parsable"], self.plan()).partition(";")[0].strip()
        return SlurmFleet([number], self._order)

    def find(self) -> Fleet | None:
        active = "--states=" + ",".join(("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING"))
        found = _ask(["squeue", "--me", "--noheader", f"--name={self._order.name}", active, "--format=%F"]).split()
        return SlurmFleet(sorted(set(found)), self._order) if found else None


class SlurmFleet:
    """The tasks of an array job. Slurm forgets what is over after a while, so what was seen is kept."""

    pause = 2.0

    def __init__(self, jobs: list[str], order: Order) -> None:
        self._jobs, self._order = jobs, order
        self._known: dict[int, State] = {}
        self.title = f"Slurm job {', '.join(jobs)}, whose output is in {order.run_dir / LAUNCH}"

    def workers(self) -> dict[int, State]:
        columns = "--Format=ArrayTaskID:.16,State:.24,exit_code:.16"
        asked = ["squeue", "--me", "--noheader", "--array", "--states=all", f"--name={self._order.name}"]
        rows = [line.split() for line in _ask([*asked, f"--jobs={','.join(self._jobs)}", columns]).splitlines()]
        found = {int(task) if task.isdigit() else 0: _state(state, code) for task, state, code in rows}
        gone = {task: State.STOPPED for task, state in self._known.items() if not state.is_over and task not in found}
        self._known |= found | gone
        return dict(self._known)

    def last_words(self, number: int) -> str:
        return last_line(self._order.run_dir / LAUNCH / f"slurm-{number}.log")

    def stop(self) -> None:
        _ask(["scancel", "--quiet", "--state=PENDING", *self._jobs])
        _ask(["scancel", "--quiet", "--signal=TERM", "--batch", *self._jobs])
        until = time.monotonic() + PATIENCE
        while any(not state.is_over for state in self.workers().values()):
            if time.monotonic() > until:
                _ask(["scancel", "--quiet", *self._jobs])
            time.sleep(1.0)


def _state(slurm: str, code: str) -> State:
    """Return the state of a task that Slurm calls so, and that ended with this code, ``CODE:SIGNAL``."""
    if slurm == "FAILED" and code.partition(":")[0] not in _BY_SIGNAL:
        return State.FAILED
    return _STATES.get(slurm, State.STOPPED)


def _ask(words: list[str], script: str | None = None) -> str:
    """Return what one of Slurm's programs answers; :class:`UserError` with its reason when it refuses.

    A password of the database in the environment is kept from Slurm, which would write it down.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PGPASSWORD"}
    try:
        done = subprocess.run(  # noqa: S603  Slurm's own programs, without a shell
            words, input=script, capture_output=True, text=True, env=environment
        )
    except FileNotFoundError:
        raise UserError(
            f"--on slurm: there is no program {words[0]} here; launch from a machine of the cluster"
        ) from None
    if done.returncode:
        forgotten = words[0] == "squeue" and "Invalid job id" in done.stderr
        if forgotten or (words[0] == "scancel" and not done.stderr):  # no job was left to be told
            return ""
        raise UserError(f"{words[0]}: {one_line(done.stderr or done.stdout)}")
    return done.stdout
