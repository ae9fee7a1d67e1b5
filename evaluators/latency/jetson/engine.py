"""Engines on a board as networks: images go there, and what TensorRT makes of them comes back."""

from __future__ import annotations

import secrets
import shlex
from pathlib import PurePosixPath

import numpy as np
import onnx

from evaluators.latency.backend import MeasureFailure, Say, Unavailable, silent
from evaluators.latency.jetson import trtexec
from evaluators.latency.jetson.meter import OVERHEAD_SECONDS, JetsonMeter
from evaluators.latency.jetson.script import BUSY, GONE, OUTPUT, UNUSABLE, digest, image_script, read_image
from evaluators.latency.jetson.ssh import TIMED_OUT

RUN_SECONDS = 120
"""Limit of loading an engine and running it once."""


class Engine:
    """A graph's engine, which :meth:`JetsonMeter.measure` has built on the board.

    Args:
        meter: of the board.
        name: of the graph, for people.
        graph: of one input.
        say: called with a line about what is being done.
    """

    def __init__(self, meter: JetsonMeter, name: str, graph: onnx.ModelProto, say: Say = silent) -> None:
        self.meter, self.name, self._say = meter, name, say
        self._job = meter.job(name, graph)
        self._input, self._output = graph.graph.input[0].name, graph.graph.output[0].name
        self.runs = 0

    def run(self, image: np.ndarray) -> np.ndarray:
        """Run it on an input; :class:`Unavailable` or :class:`MeasureFailure` says in a line why it could not."""
        device, connection = self.meter.device, self.meter.connection
        content = np.ascontiguousarray(image, np.float32).tobytes()
        file, mark = f"{digest(content)}.{secrets.token_hex(4)}.bin", secrets.token_hex(16)
        self.runs += 1
        self._say(f"{self.meter.name}: image {self.runs}")
        command = trtexec.image_command(
            device.trtexec, engine=self._job.engine, name=self._input, image=file, output=OUTPUT
        )
        script = image_script(
            self._job.engine,
            file,
            command,
            mark,
            folder=device.folder,
            wait=device.wait_seconds,
            run_seconds=RUN_SECONDS,
        )
        try:
            connection.upload(content, f"{device.folder}/{file}")
            ran = connection.run(script, device.wait_seconds + RUN_SECONDS + OVERHEAD_SECONDS, listens=True)
        except BaseException:
            self._forget(file)
            raise
        about, said = f"{self.meter.name}: {self.name}", trtexec.tail(ran.output)
        if ran.code == BUSY:
            raise Unavailable(f"{about}: others have used the board for {device.wait_seconds} s")
        if ran.code == GONE:
            raise Unavailable(f"{about}: its engine was removed from the board; repeat the command")
        if ran.code in TIMED_OUT:
            raise MeasureFailure(f"{about}: an image took too long: {said}")
        if ran.code == UNUSABLE:
            raise Unavailable(f"{about}: folder: {device.folder} cannot be used on the board: {said}")
        step, exported = read_image(ran.output, mark)
        if step is None:
            raise Unavailable(f"{about}: the board ended the run on an image ({ran.code}): {said}")
        return self._read(about, step.code, step.log, exported)

    def _read(self, about: str, code: int, log: str, exported: bytes | None) -> np.ndarray:
        """Read what a run gave.

        Args:
            about: begins messages.
            code: trtexec's.
            log: what it printed.
            exported: the file that it wrote.
        """
        try:
            report = trtexec.parse(log)
            if code != 0 or not report.passed:
                raise MeasureFailure(f"{about}: trtexec could not run it on an image: {report.failure}")
            if exported is None:
                raise MeasureFailure(f"{about}: trtexec wrote no output, as on a full disk")
            return trtexec.read_output(exported)[self._output]
        except trtexec.LogError as error:
            raise MeasureFailure(f"{about}: {error} (exit code {code})") from None
        except KeyError:
            raise MeasureFailure(f"{about}: trtexec exported no '{self._output}'") from None

    def fetch(self) -> bytes:
        """Read the engine's file; :class:`Unavailable` where it does not arrive whole."""
        return self.meter.connection.download(f"{self.meter.device.folder}/{self._job.engine}")

    def remove(self) -> None:
        """Remove graph and engine from the board; where it cannot be reached, they stay until others push them out."""
        self._forget(self._job.engine, self._job.graph)

    def _forget(self, *names: str) -> None:
        folder = PurePosixPath(self.meter.device.folder)
        files = " ".join(shlex.quote(str(folder / name)) for name in names)
        try:
            self.meter.connection.run(f"rm -f -- {files}", OVERHEAD_SECONDS)
        except Unavailable as error:
            self._say(f"not removed from the board: {files}: {error}")
