"""Stands for `trtexec` in the tests: takes the options of one version, answers with a recorded log.

The folder in the variable STAND_IN says how: `version` (digits as trtexec prints them), `log` (what a run prints),
`plan` (a line for each step to come: `ok`, or what goes wrong). With `ms_per_mb` (a number) the figures grow with the
graph instead of being the log's; a step `ms X` has the figure X. Each step is noted in `journal`.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(os.environ["STAND_IN"])
OPTIONS = {
    "onnx saveEngine loadEngine fp16 noTF32 warmUp duration iterations avgRuns noDataTransfers useSpinWait "
    "useCudaGraph exportTimes timingCacheFile loadInputs exportOutput help": (8000, 120000),
    "workspace buildOnly explicitBatch": (8000, 100000),
    "precisionConstraints": (8200, 110000),
    "memPoolSize layerPrecisions": (8400, 120000),
    "skipInference": (8600, 120000),
}
REMOVED_IN_11 = {"fp16"}
STAMP = "[07/14/2023-11:52:09]"


def known(version: int) -> set[str]:
    names = {name for group, (first, end) in OPTIONS.items() if first <= version < end for name in group.split()}
    return names - (REMOVED_IN_11 if version >= 110000 else set())


def end(verdict: str) -> None:
    print(f"&&&& {verdict} TensorRT.trtexec [TensorRT v{digits}] # {' '.join(sys.argv)}")
    sys.exit(verdict != "PASSED")


def fail(*errors: str) -> None:
    for error in errors:
        print(f"{STAMP} [E] {error}")
    end("FAILED")


def note(text: str) -> None:
    with (HERE / "journal").open("a") as file:
        file.write(f"{time.monotonic()} {os.getpid()} {text}\n")


def next_step() -> str:
    plan = HERE / "plan"
    steps = plan.read_text().splitlines() if plan.exists() else []
    plan.write_text("\n".join(steps[1:]))
    return steps[0] if steps else "ok"


def misbehave(step: str) -> None:
    """What can go wrong in a build or a run."""
    if step == "fail":
        fail(
            "[TRT] ModelImporter.cpp:773: While parsing node number 21",
            "Failed to parse onnx file",
            "Engine set up failed",
        )
    if step == "hang":
        signal.pause()
    if step == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if step == "crash":
        print(f"{STAMP} [I] Starting inference", flush=True)
        os.abort()
    if step == "flood":
        sys.stderr.write("x" * 79 + "\n")
        for _ in range(8 * 2**20 // 80):
            sys.stderr.write("stderr " * 11 + "\n")
    if step == "hot":  # the clock falls, and rises again after it was asked for
        clocks = HERE / "jetson_clocks"
        (HERE / "jetson_clocks.next").write_text(clocks.read_text())
        clocks.write_text(re.sub(r"CurrentFreq=\d+", "CurrentFreq=614400000", clocks.read_text()))
    if step == "over-current":
        for counter in HERE.glob("sys/class/hwmon/*/oc*_event_cnt"):
            counter.write_text(str(int(counter.read_text()) + 1))


def build(options: dict[str, str], step: str) -> None:
    graph = Path(options["onnx"])
    if not graph.is_file():
        fail(f"Could not open file {graph}")
    misbehave(step)
    if "timingCacheFile" in options:
        Path(options["timingCacheFile"]).write_text("timings")
    print(f"{STAMP} [I] Engine built in 1.5 sec.")
    Path(options["saveEngine"]).write_bytes(f"{digits} {graph} {graph.stat().st_size}\n".encode() + graph.read_bytes())


def answer(size: int, step: str) -> tuple[str, float]:
    """What a run prints, and the median in it."""
    log, slope = (HERE / "log").read_text(), HERE / "ms_per_mb"
    median = re.search(r"GPU Compute Time: .*median = ([\d.]+) ms", log)
    ms = median[1]
    if given := re.search(r"ms (\S+)", step):
        ms = given[1]
    elif slope.exists():
        ms = str(round(0.1 + size / 1e6 * float(slope.read_text()), 4))
    return log[: median.start(1)] + ms + log[median.end(1) :], float(ms)


def infer(options: dict[str, str], step: str) -> None:
    """Run the network itself, which the engine holds: in a process that has the packages."""
    misbehave(step)
    name, _, file = options["loadInputs"].partition(":")
    more = [options["loadEngine"], name, file, options["exportOutput"]]
    done = subprocess.run([sys.executable, str(Path(__file__).with_name("stand_in_engine.py")), *more])
    if done.returncode or step == "no output":
        fail("Inference set up failed")
    if step == "cut output":
        Path(options["exportOutput"]).write_text('[ { "name" : ')


def run(options: dict[str, str], step: str) -> None:
    engine = Path(options["loadEngine"]).read_bytes().partition(b"\n")[0].decode()
    if not engine.startswith(digits):
        fail("Engine deserialization failed", "Got invalid engine!", "Inference set up failed")
    watched, until = Path("run/tegrastats"), time.monotonic() + 2
    while (HERE / "tegrastats").exists() and not watched.stat().st_size and time.monotonic() < until:
        time.sleep(0.002)
    misbehave(step)
    log, median = answer(int(engine.split()[-1]), step)
    spread = 0.1 if step == "unsteady" else 0.001
    times = [median * (1 + spread * ((i % 5) - 2)) for i in range(100)]
    entries = [f'{{ "startComputeMs" : {i}, "computeMs" : {x}, "latencyMs" : {x} }}' for i, x in enumerate(times)]
    if "no times" not in step:
        Path(options["exportTimes"]).write_text("[\n  " + "\n, ".join(entries) + "\n]\n")
    body, _, _ = log.partition("&&&& PASSED")
    if step == "unsteady":
        print(f"{STAMP} [W] * GPU compute time is unstable, with coefficient of variance = 14.1%.")
    if step != "cut":
        print(body.rstrip())
    else:
        print(body[: len(body) // 2])
        sys.exit(0)


digits = (HERE / "version").read_text().strip()
print(f"&&&& RUNNING TensorRT.trtexec [TensorRT v{digits}] # {' '.join(sys.argv)}")
given = dict(argument.removeprefix("--").partition("=")[::2] for argument in sys.argv[1:])
if unknown := [name for name in given if name not in known(int(digits))]:
    fail(*(f"Unknown option: --{name} {given[name]}" for name in unknown))
if "help" in given:
    sys.exit(0)
kind = "build" if "onnx" in given else "image" if "loadInputs" in given else "run"
step = next_step()
note(f"start {kind} {json.dumps(sys.argv[1:])}")
{"build": build, "run": run, "image": infer}[kind](given, step)
note(f"end {kind}")
end("PASSED")
