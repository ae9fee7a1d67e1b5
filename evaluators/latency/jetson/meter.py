"""Milliseconds on a Jetson board, measured over SSH by the board's own `trtexec`: nothing of ours is installed there.

Everything that needs the board to itself, building, running and reading the board's state before and after, is one
script under one lock, so that workers share a board; the lock goes with the script, which the board itself ends.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx

from boostformer.errors import UserError
from boostformer.figures import Provenance
from evaluators.latency.backend import Measured, MeasureFailure, Say, Unavailable, silent
from evaluators.latency.jetson import trtexec
from evaluators.latency.jetson.graphs import half, norm_layers
from evaluators.latency.jetson.runs import Run, judged, median_build
from evaluators.latency.jetson.script import (
    BUSY,
    ENGINE,
    GONE,
    TIMES,
    UNUSABLE,
    Identity,
    Job,
    Outcome,
    Step,
    digest,
    identity_script,
    measure_script,
    read_identity,
    read_outcome,
)
from evaluators.latency.jetson.settings import JetsonSettings
from evaluators.latency.jetson.ssh import TIMED_OUT, Connection
from evaluators.latency.steady import counting

OLDEST = (8, 0, 0)
OVERHEAD_SECONDS = 120
"""Limit of all that is neither building nor running: starting, loading, asking for the board's state."""
LITTLE_SPACE = 64
"""MiB: with less a failure is the disk's, not the graph's."""
REUPLOADS = 3
"""Times that a graph is sent again which others' files have pushed out of the board's folder."""


class JetsonMeter:
    """Measures on the board ``name`` of the devices' file in ``folder``, as :class:`Meter` says."""

    at_once = 1

    def __init__(self, name: str, device: JetsonSettings, folder: Path) -> None:
        self.name, self.device = name, device
        self.connection = Connection(name, device, folder)

    @property
    def opset(self) -> int:
        """The ONNX opset that the board's TensorRT reads best; connects to the board."""
        return trtexec.opset(self.identity.version)

    @cached_property
    def identity(self) -> Identity:
        """The board's TensorRT, model and settings, which must be as the devices' file wants them."""
        device = self.device
        ran = self.connection.run(identity_script(device.trtexec), OVERHEAD_SECONDS)
        if ran.code in TIMED_OUT:
            raise Unavailable(f"{self.name}: the board did not say what it is within {OVERHEAD_SECONDS} s")
        if ran.code != 0:
            raise UserError(f"{self.name}: trtexec: {device.trtexec} cannot be run on the board: {ran.output.strip()}")
        found = read_identity(ran.output)
        if found is None or found.version < OLDEST:
            version = found.version if found else "an unknown version"
            raise UserError(f"{self.name}: trtexec: {device.trtexec} is of TensorRT {version}, not 8.0 or later")
        if device.power_mode is not None and found.state.power_mode != device.power_mode:
            raise UserError(
                f"{self.name}: power_mode: {device.power_mode} is required, the board is in "
                f"{found.state.power_mode or 'an unknown one'}: see `sudo nvpmodel -q` and `sudo nvpmodel -m ID` there"
            )
        return found

    def provenance(self) -> Provenance:
        found = self.identity
        engine, device = f"TensorRT {found.version}", f"{found.model} ({self.name})"
        return Provenance("measured", engine, device, self.device.precision, (*found.state.settings, "batch 1"))

    def measure(
        self, graphs: Mapping[str, onnx.ModelProto], *, builds: int = 1, say: Say = silent
    ) -> dict[str, Measured]:
        """Measure the median of `GPU Compute Time` of each graph.

        A single build uses the board's timing cache, and an engine that is there already; several are each built
        from nothing, in turns. Raises :class:`Unavailable`, :class:`MeasureFailure` or, for what the user has to
        mend, :class:`UserError`.
        """
        sent = {name: self._sent(graph) for name, graph in graphs.items()}
        runs: dict[str, list[Run]] = {name: [] for name in graphs}
        for number in range(builds):
            for name in graphs:
                say(f"{self.name}: {name}" + (f", build {number + 1} of {builds}" if builds > 1 else ""))
                runs[name].append(self._run(self._job(name, *sent[name], fresh=builds > 1), say))
        return {name: median_build(found) for name, found in runs.items()}

    def job(self, name: str, graph: onnx.ModelProto) -> Job:
        """Describe how a graph's engine is built by :meth:`measure` with a single build, and where it then lies."""
        return self._job(name, *self._sent(graph), fresh=False)

    def close(self) -> None:
        """Hang up; the next use connects anew."""
        self.connection.close()

    def _sent(self, graph: onnx.ModelProto) -> tuple[bytes, list[str]]:
        """Prepare what is sent to the board for a graph, and list the layers that are to stay in FP32."""
        device, version = self.device, self.identity.version
        keep: list[str] = []
        if trtexec.overflows(version, device.precision) and trtexec.can_keep_layers(version):
            keep = norm_layers(graph)
        if trtexec.wants_half_graph(version, device.precision):
            graph = half(graph)
        return graph.SerializeToString(deterministic=True), keep

    def _job(self, name: str, content: bytes, keep: Sequence[str], *, fresh: bool) -> Job:
        """Describe a job.

        Args:
            name: the graph's, for people.
            content: the graph's file.
            keep: layers that stay in FP32.
            fresh: whether it is built on its own, with an engine and timings that no other job shares.
        """
        device, version = self.device, self.identity.version
        graph = f"{digest(content)}.onnx"
        # An engine that was built or timed under other settings is another one.
        settings = digest(", ".join(self.identity.state.settings).encode())[:8]
        command = trtexec.build_command(
            device.trtexec,
            version,
            onnx=graph,
            engine=ENGINE,
            precision=device.precision,
            workspace=device.workspace,
            timing_cache=None if fresh else f"timing-{version}-{settings}.cache",
            keep_fp32=keep,
        )
        built = secrets.token_hex(16) if fresh else digest("\0".join([str(version), *command[1:]]).encode())
        return Job(name, content, graph, f"{built}.engine", tuple(command))

    def _run(self, job: Job, say: Say) -> Run:
        """Repeat a job until a run counts; :class:`MeasureFailure` when none does."""
        built: Step | None = None

        def once() -> tuple[Run | None, list[str]]:
            nonlocal built
            outcome = self._on_board(job)
            self._check_settings(outcome)
            built = built or outcome.build
            report = self._report(job, outcome)
            return judged(outcome, report) if report else (None, ["its saved engine could not be run"])

        about = f"{self.name}: {job.name}"
        run, rejected = counting(once, self.device.attempts, about, failure=MeasureFailure, say=say)
        run.state.update(self._record(job, built, rejected))
        return run

    def _on_board(self, job: Job) -> Outcome:
        device = self.device
        mark = secrets.token_hex(16)
        limit = device.wait_seconds + device.build_seconds + self._run_seconds + OVERHEAD_SECONDS
        text = measure_script(
            job,
            trtexec.run_command(device.trtexec, engine=job.engine, duration=device.duration, times=TIMES),
            mark,
            folder=device.folder,
            wait=device.wait_seconds,
            build_seconds=device.build_seconds,
            run_seconds=self._run_seconds,
        )
        for _ in range(REUPLOADS):
            self.connection.upload(job.content, f"{device.folder}/{job.graph}")
            ran = self.connection.run(text, limit, listens=True)
            if ran.code != GONE:
                break
        said = trtexec.tail(ran.output)
        if ran.code == BUSY:
            raise Unavailable(f"{self.name}: others have used the board for {device.wait_seconds} s")
        if ran.code == GONE:
            raise Unavailable(f"{self.name}: {job.graph} was removed from the board {REUPLOADS} times")
        if ran.code in TIMED_OUT:
            raise MeasureFailure(f"{self.name}: {job.name}: took longer than {limit:g} s in all: {said}")
        if ran.code == UNUSABLE:
            raise UserError(f"{self.name}: folder: {device.folder} cannot be used on the board: {said}")
        if ran.code != 0:
            raise Unavailable(f"{self.name}: the board ended the measurement ({ran.code}): {said}")
        return read_outcome(ran.output, mark)

    def _check_settings(self, outcome: Outcome) -> None:
        """Raise Unavailable when the settings changed: figures may be compared only under the same ones."""
        now, first = outcome.before.settings, self.identity.state.settings
        if outcome.run is not None and now != first:
            raise Unavailable(
                f"{self.name}: the board's settings are {', '.join(now)}; they were {', '.join(first)} and must be so "
                "again"
            )

    @property
    def _run_seconds(self) -> int:
        """Limit for loading and running an engine; a slow network needs longer for its least iterations."""
        return int(10 * self.device.duration) + OVERHEAD_SECONDS

    def _report(self, job: Job, outcome: Outcome) -> trtexec.Report | None:
        """Read what trtexec said of the run; None where only the saved engine was at fault."""
        if outcome.build is not None:
            self._check(job, outcome.build, outcome, "build", self.device.build_seconds)
        if outcome.run is None:
            raise self._failure(job, outcome, "trtexec saved no engine")
        if outcome.build is None and outcome.run.code != 0:
            return None
        report = self._check(job, outcome.run, outcome, "run", self._run_seconds)
        if report.gpu is None:
            raise self._failure(job, outcome, f"trtexec printed no {trtexec.GPU}")
        return report

    def _check(self, job: Job, step: Step, outcome: Outcome, verb: str, limit: int) -> trtexec.Report:
        """Read what a step printed, or raise why it failed.

        Args:
            job: the job, for messages.
            step: the build or the run.
            outcome: all that the board answered.
            verb: ``build`` or ``run``.
            limit: seconds that the step may take.
        """
        if step.code in TIMED_OUT and step.seconds >= limit:
            raise self._failure(job, outcome, f"trtexec could not {verb} it within {limit} s")
        if step.code == 137:
            said = trtexec.tail(step.log)
            raise self._failure(job, outcome, f"trtexec was killed, likely for want of memory: {said}")
        try:
            report = trtexec.parse(step.log)
        except trtexec.LogError as error:
            raise self._failure(job, outcome, f"{error} (exit code {step.code})") from None
        if step.code != 0 or not report.passed:
            raise self._failure(job, outcome, f"trtexec could not {verb} it: {report.failure}")
        return report

    def _failure(self, job: Job, outcome: Outcome, text: str) -> MeasureFailure | Unavailable:
        if outcome.free is not None and outcome.free < LITTLE_SPACE:
            return Unavailable(f"{self.name}: the board's disk is full, {outcome.free} MiB are free: {text}")
        return MeasureFailure(f"{self.name}: {job.name}: {text}")

    def _record(self, job: Job, built: Step | None, rejected: Sequence[str]) -> dict[str, Any]:
        """Collect what else is worth keeping of an accepted run.

        Args:
            job: what was run.
            built: the build, None where the engine was saved earlier.
            rejected: why the runs before it did not count.
        """
        report = None if built is None else trtexec.parse(built.log)
        options = [re.sub(r"(--layerPrecisions=).*", r"\1…", option) for option in job.build[1:]]
        return {
            "norms": trtexec.norms(self.identity.version, self.device.precision),
            "options": options,
            "engine": "saved earlier" if built is None else "built",
            "build_seconds": None if report is None else report.build_seconds,
            "attempts": len(rejected) + 1,
            "rejected": list(rejected),
        }
