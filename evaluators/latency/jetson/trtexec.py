"""TensorRT's `trtexec`: the options that each version takes, and reading what it prints.

Options by version, from the changelog and `samples/common/sampleOptions.cpp` of NVIDIA/TensorRT:
8.2 brought `--precisionConstraints`; 8.4 `--memPoolSize` (for `--workspace`) and `--layerPrecisions`; 8.6
`--skipInference` (for `--buildOnly`). 10.0 removed the older ones. 11 builds strongly typed networks only, so it
removed `--fp16` and the precision constraints; `--noDataTransfers`, `--useSpinWait` and `--useCudaGraph` became the
default there and are still accepted. `--timingCacheFile`, `--exportTimes` and `--noTF32` are in all of 8.0 to 11.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from evaluators.latency.device import Precision
from evaluators.latency.jetson.numbers import finite, number

WARM_UP_MS = 1000
ITERATIONS = 100
"""Least number of runs of an engine, after the warm-up."""
GPU = "GPU Compute Time"
"""The row whose median is a network's latency."""
LAST_LINES = 8
"""Number of trtexec's own lines that explain a failure."""


class LogError(Exception):
    """The output of trtexec is not whole: says in a line what is missing."""


class Version(NamedTuple):
    """A version of TensorRT, in an order."""

    major: int
    minor: int
    patch: int

    @classmethod
    def read(cls, text: str) -> Version | None:
        """Read ``[TensorRT v8201]`` (8.2.1; six digits from 10 on, ``v100300``); None without such a mark."""
        found = re.search(r"\[TensorRT v(\d{4,6})\]", text)
        if found is None:
            return None
        number = int(found[1])
        major, rest = divmod(number, 10000 if number >= 10000 else 1000)
        return cls(major, *divmod(rest, 100))

    @classmethod
    def of_package(cls, text: str) -> Version | None:
        """Read a Debian package's version, ``8.5.2-1+cuda11.4``."""
        found = re.match(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})(?!\d)", text.strip())
        return cls(*map(int, found.groups())) if found else None

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


def opset(version: Version) -> int:
    """Choose the ONNX opset to send: from 8.6 on LayerNormalization is one operator, computed in FP32."""
    return 17 if version >= (8, 6) else 13


def wants_half_graph(version: Version, precision: Precision) -> bool:
    """Tell whether FP16 must be in the graph itself, because no option asks for it."""
    return precision == "fp16" and version >= (11,)


def overflows(version: Version, precision: Precision) -> bool:
    """Tell whether norms, which come decomposed, would be computed in FP16."""
    return precision == "fp16" and version < (8, 6)


def can_keep_layers(version: Version) -> bool:
    """Tell whether single layers can be kept in FP32."""
    return (8, 4) <= version < (11,)


def norms(version: Version, precision: Precision) -> str:
    """Say for the record in which precision norms are computed."""
    if not overflows(version, precision):
        return "fp32"
    if can_keep_layers(version):
        return "fp32, layer by layer"
    return "fp16, scaled before squaring"


def build_command(
    trtexec: str,
    version: Version,
    *,
    onnx: str,
    engine: str,
    precision: Precision,
    workspace: int,
    timing_cache: str | None = None,
    keep_fp32: Sequence[str] = (),
) -> list[str]:
    """Write the command that builds an engine without running it.

    Args:
        trtexec: the program.
        version: its version.
        onnx: file of the graph.
        engine: file to write.
        precision: of the engine.
        workspace: MiB that the build may use.
        timing_cache: file of earlier timings; without it all tactics are timed anew, so that builds are independent.
        keep_fp32: names of layers that stay in FP32.
    """
    if keep_fp32 and not can_keep_layers(version):
        raise ValueError(f"trtexec of TensorRT {version} cannot keep layers in FP32")
    command = [trtexec, f"--onnx={onnx}", f"--saveEngine={engine}"]
    command.append("--buildOnly" if version < (8, 6) else "--skipInference")
    command.append(f"--workspace={workspace}" if version < (8, 4) else f"--memPoolSize=workspace:{workspace}")
    if precision == "fp32":
        command.append("--noTF32")
    elif not wants_half_graph(version, precision):
        command.append("--fp16")
    if keep_fp32:
        command += ["--precisionConstraints=obey", "--layerPrecisions=" + ",".join(f"{x}:fp32" for x in keep_fp32)]
    if timing_cache is not None:
        command.append(f"--timingCacheFile={timing_cache}")
    return command


def run_command(trtexec: str, *, engine: str, duration: float, times: str) -> list[str]:
    """Write the command that runs a built engine; every version takes all of its options.

    Args:
        trtexec: the program.
        engine: file of the engine.
        duration: seconds to run it at least.
        times: file to write every query's time to.
    """
    return [
        trtexec,
        f"--loadEngine={engine}",
        f"--warmUp={WARM_UP_MS}",
        f"--duration={duration:g}",
        f"--iterations={ITERATIONS}",
        "--avgRuns=1",
        "--noDataTransfers",
        "--useSpinWait",
        "--useCudaGraph",
        f"--exportTimes={times}",
    ]


def image_command(trtexec: str, *, engine: str, name: str, image: str, output: str) -> list[str]:
    """Write the command that runs an engine once on an image; every version takes all of its options.

    Args:
        trtexec: the program.
        engine: file of the engine.
        name: of its input.
        image: file of the input's numbers, as they lie in memory.
        output: JSON file to write what it gives to.
    """
    once = ["--iterations=1", "--warmUp=0", "--duration=0", "--avgRuns=1"]
    return [trtexec, f"--loadEngine={engine}", f"--loadInputs={name}:{image}", *once, f"--exportOutput={output}"]


def read_output(content: bytes) -> dict[str, np.ndarray]:
    """Read the JSON of ``--exportOutput``: what an engine gives, by name; :class:`LogError` for another document."""
    try:
        if not isinstance(listed := json.loads(content), list):
            raise TypeError("no list")
        return {
            str(one["name"]): np.array(one["values"], np.float32).reshape(
                [int(side) for side in str(one["dimensions"]).split("x")]
            )
            for one in listed
        }
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise LogError(f"what trtexec exported cannot be read: {error}") from None


@dataclass(frozen=True)
class Row:
    """One row of the summary, in milliseconds."""

    minimum: float
    maximum: float
    mean: float
    median: float
    percentiles: dict[float, float] = field(default_factory=dict, hash=False)
    """Values by percentage: 8.2 prints 99 alone, 8.6 and later 90, 95 and 99."""


@dataclass(frozen=True)
class Report:
    """One run of trtexec as it printed it; None stands for what it did not print."""

    passed: bool
    version: Version
    rows: dict[str, Row] = field(hash=False)
    """Rows by name: ``GPU Compute Time``, ``Latency``, ``Enqueue Time``, up to 8.2 ``End-to-End Host Latency``, …"""
    throughput: float | None
    """Queries per second."""
    queries: int | None
    build_seconds: float | None
    unstable: float | None
    """The coefficient of variance in percent, printed only where trtexec calls the run unstable."""
    errors: tuple[str, ...]
    """The errors that it printed, in order."""
    last_lines: tuple[str, ...]
    """The last lines it printed before its verdict."""

    @property
    def gpu(self) -> Row | None:
        """The row of the times on the GPU."""
        return self.rows.get(GPU)

    @property
    def failure(self) -> str:
        """The reason for which it failed, in its own words."""
        return " | ".join(self.errors[-LAST_LINES:] or self.last_lines) or "it printed nothing"


_LINE = re.compile(r"^\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] \[(?P<level>[A-Z])\] ?(?P<text>.*)$")
_VERDICT = re.compile(r"^&&&& (?P<verdict>PASSED|FAILED) TensorRT\.trtexec\b(?P<rest>.*)$")
_NUMBER = r"[-+.\w]{1,40}"
_ROW = re.compile(rf"^(?P<name>[\w -]+): (?P<values>min = {_NUMBER} ms.*)$")
_VALUE = re.compile(rf"\b(?P<key>\w{{1,20}})(?:\((?P<percent>[\d.]{{1,8}})%\))? = (?P<value>{_NUMBER}) ms")
_THROUGHPUT = re.compile(rf"^Throughput: ({_NUMBER}) qps")
_QUERIES = re.compile(r"^Timing trace has (\d+) queries")
_BUILT = re.compile(rf"^Engine built in ({_NUMBER}) sec")
_UNSTABLE = re.compile(rf"compute time is unstable, with coefficient of variance = ({_NUMBER})%")


def parse(log: str) -> Report:
    """Read the output of trtexec 8.0 to 11; what is unknown in it is passed over.

    Raises :class:`LogError` without a verdict of trtexec's, as when it was killed or the log was cut short.
    """
    lines = [line.rstrip() for line in log.splitlines()]
    plain = [_LINE.sub(r"\g<text>", line).strip() for line in lines]
    verdicts = [found for line in lines if (found := _VERDICT.match(line))]
    if not verdicts:
        raise LogError(f"trtexec did not come to its end; its last lines: {tail(log)}")
    version = Version.read(verdicts[-1]["rest"])
    if version is None:
        raise LogError(f"trtexec's last line names no version: {verdicts[-1][0]}")
    return Report(
        passed=verdicts[-1]["verdict"] == "PASSED",
        version=version,
        rows=dict(_rows(plain)),
        throughput=_number(_THROUGHPUT, plain),
        queries=None if (queries := _number(_QUERIES, plain)) is None else int(queries),
        build_seconds=_number(_BUILT, plain),
        unstable=_number(_UNSTABLE, plain),
        errors=tuple(found["text"].strip() for line in lines if (found := _LINE.match(line)) and found["level"] == "E"),
        last_lines=_last(plain),
    )


def tail(log: str) -> str:
    """Join the last lines of an output into one."""
    return " | ".join(_last([_LINE.sub(r"\g<text>", line).strip() for line in log.splitlines()])) or "none"


def _last(plain: Sequence[str]) -> tuple[str, ...]:
    return tuple(line for line in plain if line and not line.startswith("&&&&"))[-LAST_LINES:]


def _rows(plain: Sequence[str]) -> list[tuple[str, Row]]:
    """Read the summary's rows; one that lacks a value, because the line was cut, is none."""
    rows = []
    for line in plain:
        if not (found := _ROW.match(line)):
            continue
        values: dict[str, float] = {}
        percentiles: dict[float, float] = {}
        for item in _VALUE.finditer(found["values"]):
            if item["percent"]:
                if (percent := finite(item["percent"])) is not None:
                    percentiles[percent] = number(item["value"])
            else:
                values[item["key"]] = number(item["value"])
        if {"min", "max", "mean", "median"} <= values.keys():
            row = Row(values["min"], values["max"], values["mean"], values["median"], percentiles)
            rows.append((found["name"].strip(), row))
    return rows


def _number(pattern: re.Pattern[str], plain: Sequence[str]) -> float | None:
    for line in plain:
        if found := pattern.search(line):
            return finite(found[1])
    return None
