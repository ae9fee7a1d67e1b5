"""The script that builds and runs an engine under a Jetson board's lock, and reading its answer."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from evaluators.latency.jetson import board
from evaluators.latency.jetson.board import Sample, State
from evaluators.latency.jetson.numbers import finite, number
from evaluators.latency.jetson.ssh import GRACE_SECONDS, STOP
from evaluators.latency.jetson.trtexec import Version

BUSY, UNUSABLE, GONE = 75, 66, 67
"""Exit codes: the lock was not to be had; the folder cannot be used; the graph is no longer in it."""
KEPT = 60
"""Number of graphs and engines that stay in the board's folder, the last used ones."""
ENGINE, TIMES, OUTPUT = "run/engine", "run/times.json", "run/output.json"
"""Files that trtexec writes; the folder `run` belongs to one run alone."""

_LOCKED = r"""
exec 3<&0
{ read -r told <&3; [ "$told" = STOP ] && kill -TERM 0; } > /dev/null 2>&1 &
listener=$!
trap 'kill "$listener" 2> /dev/null' EXIT
cd -- "$folder" && exec 9> lock || exit 66
flock -w "$wait" -E 75 9 || exit
rm -rf run && mkdir run || exit 66
trap 'kill "$listener" 2> /dev/null; rm -rf run' EXIT
trap 'exit 143' TERM HUP INT
say() { printf '\n%s %s\n' "$mark" "$*"; }
limited() {
  start=$(date +%s)
  timeout --foreground -k GRACE "$@" < /dev/null
  code=$?
  took=$(($(date +%s) - start))
}
code=0
"""

_SCRIPT = r"""
if [ -s "$engine" ]; then
  touch -c "$engine"
else
  [ -s "$graph" ] || exit 67
  say build
  build
  say built "$code" "$took"
  [ "$code" = 0 ] && { mv -f run/engine "$engine" || code=1; }
fi
if [ "$code" = 0 ]; then
  say before; state
  tegrastats --interval 200 > run/tegrastats 2> /dev/null < /dev/null 9>&- &
  watcher=$!
  say run
  run
  say ran "$code" "$took"
  kill "$watcher" 2> /dev/null
  say after; state
  say during; cat run/tegrastats
  say times; grep -o '"computeMs" : [^,} ]*' run/times.json
fi
say free; df -Pm . | awk 'NR == 2 { print $4 }'
[ "$code" = 0 ] || rm -f "$engine"
ls -1t | grep -E '^[0-9a-f]{32}\.(onnx|engine)$' | tail -n +KEPT | xargs -r rm -f
exit 0
"""

_IMAGE = r"""
trap 'kill "$listener" 2> /dev/null; rm -rf run; rm -f "$input"' EXIT
[ -s "$engine" ] && [ -s "$input" ] || exit 67
say run
run
say ran "$code" "$took"
[ "$code" = 0 ] || exit 0
say output; gzip -c run/output.json | base64 -w 1000
say end
"""

_IDENTITY = r"""
command -v "$trtexec" > /dev/null || { echo "there is no such program"; exit 66; }
timeout --foreground -k GRACE 60 "$trtexec" --help < /dev/null | grep -o '\[TensorRT v[0-9]*\]' | head -n 1
echo "package $(dpkg-query -W -f '${Version}' libnvinfer-bin 2> /dev/null)"
echo "model $(tr -d '\0' < MODEL 2> /dev/null)"
echo state
state
"""


@dataclass(frozen=True)
class Identity:
    """A board's TensorRT, its model, and its state when it was first asked."""

    version: Version
    model: str
    state: State


@dataclass(frozen=True)
class Job:
    """A graph to be measured.

    Attributes:
        name: for people.
        content: the ONNX file.
        graph: the file's name in the board's folder.
        engine: the engine's name there.
        build: trtexec's command that builds :data:`ENGINE`.
    """

    name: str
    content: bytes
    graph: str
    engine: str
    build: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One run of trtexec: its exit code, the seconds it took, what it printed."""

    code: int
    seconds: int
    log: str


@dataclass(frozen=True)
class Outcome:
    """A board's answer.

    Attributes:
        build: None where the engine was there already.
        run: None where there is no engine.
        before: the board's state before the run.
        after: its state afterwards.
        during: tegrastats while it ran.
        times: milliseconds on the GPU of every query; NaN for what is no number.
        free: MiB on the board's disk.
    """

    build: Step | None
    run: Step | None
    before: State
    after: State
    during: list[Sample] = field(hash=False)
    times: list[float] = field(hash=False)
    free: int | None


def digest(content: bytes) -> str:
    """Hash what a file in the board's folder is named after."""
    return hashlib.sha256(content).hexdigest()[:32]


def measure_script(
    job: Job, run: Sequence[str], mark: str, *, folder: str, wait: int, build_seconds: int, run_seconds: int
) -> str:
    """Write the script that builds the job's engine unless it is there, and runs it, all under the board's lock.

    Args:
        job: what is built and run.
        run: trtexec's command that runs the engine.
        mark: begins each part of the answer.
        folder: on the board, for graphs, engines and the lock.
        wait: seconds to wait for the lock.
        build_seconds: limit of the build.
        run_seconds: limit of the run.

    At the line :data:`evaluators.latency.jetson.ssh.STOP` all of it ends. The inner time limits stay in the process
    group of the outer one, so that whatever ends the script also ends trtexec, and with it the lock.
    """
    names = {"folder": folder, "wait": str(wait), "mark": mark, "engine": job.engine, "graph": job.graph}
    head = [f"{name}={shlex.quote(value)}" for name, value in names.items()]
    head.append(f"build() {{ limited {build_seconds} {shlex.join(job.build)}; }}")
    head.append(f"run() {{ limited {run_seconds} {shlex.join(run)}; }}")
    body = (_LOCKED + _SCRIPT).replace("KEPT", str(KEPT + 1))
    return "\n".join([*head, board.query_script(), _filled(body)])


def _filled(body: str) -> str:
    return body.replace("GRACE", str(GRACE_SECONDS)).replace("STOP", STOP)


def image_script(
    engine: str, image: str, run: Sequence[str], mark: str, *, folder: str, wait: int, run_seconds: int
) -> str:
    """Write the script that runs an engine on one image, under the board's lock, and prints what it gives.

    Args:
        engine: its name in the board's folder.
        image: the input's, which is removed.
        run: trtexec's command, which writes :data:`OUTPUT`.
        mark: begins each part of the answer.
        folder: on the board.
        wait: seconds to wait for the lock.
        run_seconds: limit of the run.
    """
    names = {"folder": folder, "wait": str(wait), "mark": mark, "engine": engine, "input": image}
    head = [f"{name}={shlex.quote(value)}" for name, value in names.items()]
    head.append(f"run() {{ limited {run_seconds} {shlex.join(run)}; }}")
    return "\n".join([*head, _filled(_LOCKED + _IMAGE)])


def read_image(output: str, mark: str) -> tuple[Step | None, bytes | None]:
    """Read what :func:`image_script` printed: the run, and the file that it wrote; None of what is missing."""
    parts = [part.partition("\n") for part in output.split(f"\n{mark} ")[1:]]
    found = {title.split(" ")[0].strip(): (title, body) for title, _, body in parts}
    step = None
    if "ran" in found and (told := _TITLE.match(found["ran"][0])) and told["code"]:
        step = Step(int(told["code"]), int(told["seconds"]), found.get("run", ("", ""))[1])
    if "output" not in found or "end" not in found:
        return step, None
    try:
        return step, gzip.decompress(base64.b64decode(found["output"][1]))
    except (ValueError, OSError, EOFError):
        return step, None


def identity_script(trtexec: str) -> str:
    """Write the script that prints the version of ``trtexec``, the board's model, and its state."""
    body = _IDENTITY.replace("GRACE", str(GRACE_SECONDS)).replace("MODEL", board.MODEL)
    return "\n".join([f"trtexec={shlex.quote(trtexec)}", board.query_script(), body])


def read_identity(output: str) -> Identity | None:
    """Read what :func:`identity_script` printed; None where no version is in it."""
    said, _, state = output.partition("\nstate\n")
    package = re.search(r"^package (.+)$", said, re.MULTILINE)
    model = re.search(r"^model (.+)$", said, re.MULTILINE)
    version = Version.read(said) or (Version.of_package(package[1]) if package else None)
    if version is None:
        return None
    return Identity(version, model[1].strip() if model else "unknown board", board.read_state(state))


_TITLE = re.compile(r"(?P<name>\w+)(?: (?P<code>\d{1,9}) (?P<seconds>-?\d{1,9}))?\s*$")


def read_outcome(output: str, mark: str) -> Outcome:
    """Read what :func:`measure_script` printed."""
    parts: dict[str, str] = {}
    ends: dict[str, tuple[int, int]] = {}
    for part in output.split(f"\n{mark} ")[1:]:
        title, _, body = part.partition("\n")
        if (found := _TITLE.match(title)) is None:
            continue
        parts[found["name"]] = body
        if found["code"]:
            ends[found["name"]] = (int(found["code"]), int(found["seconds"]))
    free = re.match(r"\d+", parts.get("free", ""))
    mebibytes = finite(free[0]) if free else None
    return Outcome(
        build=Step(*ends["built"], parts.get("build", "")) if "built" in ends else None,
        run=Step(*ends["ran"], parts.get("run", "")) if "ran" in ends else None,
        before=board.read_state(parts.get("before", "")),
        after=board.read_state(parts.get("after", "")),
        during=board.read_tegrastats(parts.get("during", "")),
        times=[number(time) for time in re.findall(r'"computeMs" : (\S+)', parts.get("times", ""))],
        free=None if mebibytes is None else int(mebibytes),
    )
