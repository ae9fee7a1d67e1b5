"""The state of a Jetson board: asking for it, reading the answers, and judging whether they spoil a measurement.

Every tool and file may be missing or need root: what cannot be read is None or left out, never made up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from evaluators.latency.jetson.numbers import finite

MAX_VARIATION = 2.0
"""Percent: a run whose coefficient of variation is larger is not steady."""
BUSY = 90
"""Percent: a line of tegrastats with less load says nothing about the clock under load."""
SLACK = 0.99
"""The kernel rounds clocks: this share of the maximum is the maximum."""
UNPOWERED = -100
"""°C: a sensor that shows less belongs to a part without power."""
SYSTEM, MODEL = "/sys", "/proc/device-tree/model"

_QUERY = r"""brief() { timeout --foreground -k 5 20 "$@" 2>/dev/null; }
query() { brief "$@" || brief sudo -n "$@"; }
state() {
  query nvpmodel -q
  query jetson_clocks --show
  for gpu in SYSTEM/class/devfreq/*; do
    case $gpu in *gpu*|*gp10b*|*gv11b*|*ga10b*) ;; *) continue ;; esac
    echo "devfreq $(cat "$gpu/min_freq") $(cat "$gpu/max_freq") $(cat "$gpu/cur_freq")"
  done 2>/dev/null
  for zone in SYSTEM/class/thermal/thermal_zone*; do
    echo "zone $(cat "$zone/type") $(cat "$zone/temp")"
  done 2>/dev/null
  for count in SYSTEM/class/hwmon/hwmon*/oc*_event_cnt; do
    echo "counter ${count#SYSTEM/class/hwmon/} $(cat "$count")"
  done 2>/dev/null
}
"""


def query_script() -> str:
    """Write a shell function ``state`` that prints what :func:`read_state` reads.

    The clocks of the GPU are asked for twice: `jetson_clocks` needs root on many boards, devfreq never does.
    """
    return _QUERY.replace("SYSTEM", SYSTEM)


@dataclass(frozen=True)
class Clock:
    """The GPU's clock in MHz; it is locked when the least is the largest."""

    minimum: float
    maximum: float
    current: float

    @property
    def locked(self) -> bool:
        return self.minimum == self.maximum

    def __str__(self) -> str:
        return f"GPU clock {self.maximum:.1f} MHz locked" if self.locked else f"GPU clock up to {self.maximum:.1f} MHz"


@dataclass(frozen=True)
class State:
    """A board's answer about itself; None or absent where it could not tell."""

    power_mode: str | None = None
    clock: Clock | None = None
    temperatures: dict[str, float] = field(default_factory=dict, hash=False)
    """°C by sensor."""
    over_current: dict[str, int] = field(default_factory=dict, hash=False)
    """Events since the start, by counter."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def settings(self) -> tuple[str, str]:
        """Power mode and clock in words, which decide how fast the board is."""
        return self.power_mode or "power mode unknown", str(self.clock or "GPU clock unknown")


@dataclass(frozen=True)
class Sample:
    """One line of tegrastats: the GPU's load in percent, its clocks in MHz (one of each cluster), °C by sensor."""

    load: int | None
    clocks: tuple[float, ...]
    temperatures: dict[str, float] = field(hash=False)


_MODE = re.compile(r"NV Power Mode:[ \t]*(\S.{0,99})")
_SHOWN = re.compile(r"^GPU MinFreq=(\d+) MaxFreq=(\d+) CurrentFreq=(\d+)", re.MULTILINE)
_DEVFREQ = re.compile(r"^devfreq (\d+) (\d+) (\d+)$", re.MULTILINE)
_ZONE = re.compile(r"^zone (\S+) (-?\d+)$", re.MULTILINE)
_COUNTER = re.compile(r"^counter (\S+) (\d+)$", re.MULTILINE)
_GPU = re.compile(r"GR3D_FREQ (?:(?P<load>\d+)%)?(?:@\[?(?P<clocks>[\d,]+)\]?)?")
_SENSOR = re.compile(r"(?<![\w-])(?P<name>[\w-]{1,40})@(?P<celsius>-?[\d.]{1,12})C\b")


def read_state(text: str) -> State:
    """Read what the function of :func:`query_script` printed, or any part of it."""
    mode = _MODE.search(text)
    return State(
        power_mode=mode[1].strip() if mode else None,
        clock=_clock(text),
        temperatures=_powered({name: milli / 1000 for name, milli in _numbers(_ZONE.findall(text)).items()}),
        over_current={name: int(count) for name, count in _numbers(_COUNTER.findall(text)).items()},
    )


def _clock(text: str) -> Clock | None:
    for pattern in (_SHOWN, _DEVFREQ):
        hertz = [finite(value) for found in pattern.findall(text)[:1] for value in found]
        known = [value / 1e6 for value in hertz if value is not None]
        if len(known) == 3:
            return Clock(*known)
    return None


def read_tegrastats(text: str) -> list[Sample]:
    """Read every line that speaks of the GPU."""
    samples = []
    for line in text.splitlines():
        if not (found := _GPU.search(line)):
            continue
        # A cluster without power shows 0.
        clocks = tuple(mhz for clock in (found["clocks"] or "").split(",") if (mhz := finite(clock)))
        load = finite(found["load"])
        samples.append(Sample(None if load is None else int(load), clocks, _powered(_numbers(_SENSOR.findall(line)))))
    return samples


def _numbers(shown: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Read values by name, without those that are no numbers."""
    return {name: value for name, text in shown if (value := finite(text)) is not None}


def _powered(celsius: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in celsius.items() if value > UNPOWERED}


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Count a run's samples; give lowest clock, median load and hottest sensor, or None for what is unknown."""
    clocks = [clock for sample in samples for clock in sample.clocks]
    loads = [sample.load for sample in samples if sample.load is not None]
    heat = [celsius for sample in samples for celsius in sample.temperatures.values()]
    return {
        "samples": len(samples),
        "lowest_mhz": min(clocks, default=None),
        "median_load": median(loads) if loads else None,
        "hottest_c": max(heat, default=None),
    }


def judge(
    before: State,
    after: State,
    during: Sequence[Sample],
    variation: float | None,
    *,
    unstable: bool = False,
) -> list[str]:
    """Say why a run does not count, or nothing. What is unknown speaks neither way.

    Args:
        before: the board's state before the run.
        after: its state afterwards.
        during: tegrastats while it ran.
        variation: coefficient of variation of the times, in percent.
        unstable: whether trtexec itself warned.
    """
    reasons = []
    if after.settings != before.settings:
        reasons.append(f"the settings changed from {', '.join(before.settings)} to {', '.join(after.settings)}")
    if slow := _slowest(before, after, during):
        reasons.append(slow)
    for name in sorted(before.over_current.keys() & after.over_current.keys()):
        if after.over_current[name] > before.over_current[name]:
            reasons.append(f"over-current: {name} rose from {before.over_current[name]} to {after.over_current[name]}")
    if variation is not None and (variation > MAX_VARIATION or unstable):
        reasons.append(f"unstable: the coefficient of variance is {variation:.1f} %")
    return reasons


def _slowest(before: State, after: State, during: Sequence[Sample]) -> str | None:
    """Say what the lowest clock under load was, where that is below the maximum.

    A clock that is not locked rises with the load: what it was before, or after, or in a line without the load, says
    nothing.
    """
    if before.clock is None:
        return None
    enough, locked = SLACK * before.clock.maximum, before.clock.locked
    busy = [sample for sample in during if (locked if sample.load is None else sample.load >= BUSY)]
    seen = [min(sample.clocks) for sample in busy if sample.clocks]
    if locked:
        seen += [state.clock.current for state in (before, after) if state.clock is not None]
    else:
        risen = next((i for i, clock in enumerate(seen) if clock >= enough), 0)
        seen = seen[risen:]
    if not seen or min(seen) >= enough:
        return None
    return f"throttled: the GPU's clock fell to {min(seen):.1f} of {before.clock.maximum:.1f} MHz"
