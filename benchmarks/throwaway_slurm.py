"""A Slurm in a temporary folder, for benchmarks and tests: munged, slurmctld and one or more nodes on this machine.

It needs Debian's packages slurmctld, slurmd, slurm-client and munge, and runs as whoever starts it. Nodes keep track of
their processes without cgroups, and have two GPUs each, which are none: Slurm hands them out all the same.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
CONFIG = """\
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_min_interval=100000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdTimeout=10
KillWait=15
ReturnToService=2
MinJobAge=300
JobRequeue=1
GresTypes=gpu
{nodes}
PartitionName=all Nodes=ALL Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=ALL PriorityTier=9 MaxTime=INFINITE State=UP PreemptMode=OFF
"""


def missing() -> str | None:
    """Say which program is not on this machine; None when all are."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    return f"no Slurm on this machine: {', '.join(lacking)} not found" if lacking else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    return number


class Slurm:
    """A running Slurm; a context manager, which sets ``SLURM_CONF`` for this process and removes all in the end."""

    def __init__(self, slots: int = 4, nodes: int = 1) -> None:
        self._slots, self._count = slots, nodes
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Slurm:
        if why := missing():
            raise RuntimeError(why)
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        try:
            self._begin()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _begin(self) -> None:
        host, user = socket.gethostname().partition(".")[0], pwd.getpwuid(os.getuid()).pw_name
        self.names = [f"node{number}" for number in range(self._count)]
        # A node whose processors are more than the machine's, which config_overrides lets it have.
        lines = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} CPUs={self._slots} Gres=gpu:2"
            for name in self.names
        ]
        config = CONFIG.format(host=host, port=free_port(), user=user, folder=self.folder, nodes="\n".join(lines))
        (self.folder / "slurm.conf").write_text(config)
        gpus = [f"Name=gpu Flags=nvidia_gpu_env File={device}" for device in ("/dev/null", "/dev/zero")]
        (self.folder / "gres.conf").write_text("\n".join(gpus))
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        os.environ["SLURM_CONF"] = str(self.folder / "slurm.conf")
        files = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
        self._start("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *files)
        self._until(lambda: (self.folder / "munge.socket").exists(), "munged")
        self._start("slurmctld", "-D", "-i", "-c")
        for name in self.names:
            self.start_node(name)
        self._until(self._idle, "nodes")

    def _idle(self) -> bool:
        return set(self.ask("sinfo", "-h", "-N", "-o", "%T").split()) == {"idle"}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in [*self._belonging(), *self._steps()]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.environ.pop("SLURM_CONF", None)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_node(self, name: str) -> None:
        (self.folder / f"spool-{name}").mkdir(exist_ok=True)
        self._start(f"slurmd {name}", "-D", "-N", name)

    def kill_node(self, name: str) -> int:
        """kill -9 of a node's daemon and of all that runs on it; gives how many processes that were."""
        daemon = self.processes[f"slurmd {name}"]
        daemon.kill()
        daemon.wait()
        killed = [pid for pid in self._belonging() if _environment(pid).get("SLURMD_NODENAME") == name]
        for pid in [*killed, *self._steps()]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(killed)

    def _steps(self) -> list[int]:
        """The daemons of the steps that run."""
        found = []
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = place.read_bytes()
            except OSError:
                continue
            if b"slurmstepd" in words and str(self.folder) in str(
                _environment(int(place.parent.name)).get("SLURM_CONF")
            ):
                found.append(int(place.parent.name))
        return found

    def _belonging(self) -> list[int]:
        """Processes of this Slurm's jobs."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            known = _environment(int(place.name))
            ours = known.get("SLURM_CONF") == str(self.folder / "slurm.conf")
            if ours and "SLURM_JOB_ID" in known and place.name != str(os.getpid()):
                found.append(int(place.name))
        return found

    def ask(self, *words: str) -> str:
        return subprocess.run(words, capture_output=True, text=True).stdout

    def _start(self, program: str, *arguments: str) -> None:
        name = program.partition(" ")[0]
        path = shutil.which(name, path=PATH)
        log = (self.folder / f"{program.replace(' ', '-')}.out").open("ab")
        self.processes[program] = subprocess.Popen(
            [str(path), *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )

    def _until(self, holds: object, what: str) -> None:
        until = time.monotonic() + 30
        while not holds():  # type: ignore[operator]
            ended = {name: process.poll() for name, process in self.processes.items() if process.poll() is not None}
            if ended or time.monotonic() > until:
                logs = [path.read_text(errors="replace")[-1500:] for path in sorted(self.folder.glob("*.out"))]
                raise RuntimeError(f"Slurm does not start ({what}, {ended}): {' '.join(logs)}")
            time.sleep(0.1)


def _environment(pid: int) -> dict[str, str]:
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(word.partition("=")[::2] for word in words)
