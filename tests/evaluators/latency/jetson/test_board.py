"""The board's state: reading it, what is unknown, and which runs do not count."""

from __future__ import annotations

import math
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jetson_cases import NO_NUMBERS, lines_with_numbers

from evaluators.latency.jetson import board
from evaluators.latency.jetson.board import (
    Clock,
    Sample,
    State,
    judge,
    query_script,
    read_state,
    read_tegrastats,
    summary,
)
from evaluators.latency.jetson.script import read_identity, read_outcome

SHOWN = """SOC family:tegra210  Machine:NVIDIA Jetson Nano Developer Kit
Online CPUs: 0-3
cpu0: Online=1 Governor=schedutil MinFreq=102000 MaxFreq=1479000 CurrentFreq=1479000 IdleStates: WFI=1 c7=1
GPU MinFreq=921600000 MaxFreq=921600000 CurrentFreq=921600000
EMC MinFreq=204000000 MaxFreq=1600000000 CurrentFreq=1600000000 FreqOverride=1
"""
LOCKED = State("MAXN", Clock(921.6, 921.6, 921.6), {"GPU-therm": 40.0}, {"hwmon3/oc1_event_cnt": 2})
FREE = replace(LOCKED, clock=Clock(76.8, 921.6, 76.8))


def sample(load: int | None, *clocks: float) -> Sample:
    return Sample(load, clocks, {})


def test_a_locked_nano() -> None:
    state = read_state(f"NV Power Mode: MAXN\n0\n{SHOWN}zone GPU-therm 39500\ncounter hwmon3/oc1_event_cnt 2\n")
    assert state == replace(LOCKED, temperatures={"GPU-therm": 39.5})
    assert state.settings == ("MAXN", "GPU clock 921.6 MHz locked")


def test_the_modes_name_counts() -> None:
    said = "NVPM VERB: Current mode: NV Power Mode: MAXN_SUPER\n2\n"
    assert read_state(said).power_mode == "MAXN_SUPER"


def test_without_root_the_clock_comes_from_devfreq() -> None:
    state = read_state("devfreq 114750000 1377000000 318750000\n")
    assert state.clock == Clock(114.75, 1377.0, 318.75)
    assert state.settings == ("power mode unknown", "GPU clock up to 1377.0 MHz")


@pytest.mark.parametrize("text", ["", "Error: Please run with sudo\n", "zone x\ncounter y\ndevfreq 1 2\nGPU MinFreq="])
def test_what_is_missing_is_unknown(text: str) -> None:
    assert read_state(text) == State()


def test_a_sensor_without_power_shows_nothing() -> None:
    assert read_state("zone GPU-therm -256000\nzone CPU-therm 41000\n").temperatures == {"CPU-therm": 41.0}


@pytest.mark.parametrize(
    ("field", "load", "clocks"),
    [
        ("GR3D_FREQ 99%@921", 99, (921,)),
        ("GR3D_FREQ 37%", 37, ()),
        ("GR3D_FREQ 12%@[1300,1300]", 12, (1300, 1300)),
        ("GR3D_FREQ @[1000,1000,1000]", None, (1000, 1000, 1000)),
        ("GR3D_FREQ 99%@[1300,0]", 99, (1300,)),
    ],
)
def test_tegrastats(field: str, load: int | None, clocks: tuple[float, ...]) -> None:
    line = f"RAM 2/3964MB (lfb 1x4MB) CPU [1%@102,off] EMC_FREQ 0% {field} cpu@52.968C GPU@-256C tj@53C VDD_IN 4mW"
    assert read_tegrastats(f"\n{line}\nno such field\n") == [Sample(load, clocks, {"cpu": 52.968, "tj": 53.0})]


@pytest.mark.parametrize("text", [text for text in NO_NUMBERS if text != "\u0663"])
def test_what_is_no_finite_number_is_unknown(text: str) -> None:
    (found,) = read_tegrastats(f"GR3D_FREQ {text}%@[{text},1300] GPU@{text}C tj@53C")
    assert (found.load, found.temperatures.get("GPU")) == (None, None)
    state = read_state(f"GPU MinFreq=1 MaxFreq={text} CurrentFreq=1\nzone GPU {text}\ncounter oc1 {text}\n")
    assert state == State()
    both = f"GPU MinFreq=1 MaxFreq={text} CurrentFreq=1\ndevfreq 114750000 1377000000 318750000\n"
    assert read_state(both).clock == Clock(114.75, 1377.0, 318.75)


def numbers(value: Any) -> list[float]:
    """All numbers in plain values."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, int | float) else []


@given(
    st.text()
    | lines_with_numbers(
        "GPU MinFreq=# MaxFreq=# CurrentFreq=#",
        "devfreq # # #",
        "zone GPU-therm #",
        "counter hwmon3/oc1_event_cnt #",
        "RAM 2/3964MB GR3D_FREQ #%@[#,#] cpu@#C GPU@#C",
        "GR3D_FREQ #%@# tj@#C",
        "package #.#.#-1+cuda11.4",
        "[TensorRT v#]",
        "state",
        "mark built # #",
        "mark ran # #",
        "mark ",
        "mark free",
        "mark before",
        "mark during",
        "#",
    )
)
def test_any_text_of_a_board_is_read(text: str) -> None:
    outcome = read_outcome(f"\n{text}\n", "mark")
    found = [asdict(outcome), asdict(read_state(text)), [asdict(line) for line in read_tegrastats(text)]]
    if identity := read_identity(text):
        found.append(asdict(identity))
    assert all(math.isfinite(number) for number in numbers(found))
    summary(read_tegrastats(text))


def test_a_summary_of_nothing_is_unknown() -> None:
    assert summary([]) == {"samples": 0, "lowest_mhz": None, "median_load": None, "hottest_c": None}
    found = summary([Sample(99, (921.0,), {"cpu": 50.0}), Sample(None, (900.0,), {"cpu": 51.0})])
    assert found == {"samples": 2, "lowest_mhz": 900.0, "median_load": 99, "hottest_c": 51.0}


def test_a_steady_run_counts() -> None:
    assert judge(LOCKED, LOCKED, [sample(99, 921), sample(0, 76)], 0.4) == []
    assert judge(FREE, FREE, [sample(99, 300), sample(99, 921), sample(3, 76)], 0.4) == []


def test_what_is_unknown_speaks_neither_way() -> None:
    assert judge(State(), State(), [], None) == []
    assert judge(FREE, FREE, [sample(None, 300)], None) == []


@pytest.mark.parametrize(
    ("before", "after", "during"),
    [
        (LOCKED, replace(LOCKED, clock=Clock(921.6, 921.6, 614.4)), []),
        (LOCKED, LOCKED, [sample(99, 921), sample(99, 614.4)]),
        (LOCKED, LOCKED, [sample(None, 921, 614.4)]),
        (FREE, FREE, [sample(99, 921), sample(98, 614.4), sample(99, 921)]),
        (FREE, FREE, [sample(99, 614.4)]),
    ],
)
def test_a_clock_below_the_maximum(before: State, after: State, during: list[Sample]) -> None:
    assert judge(before, after, during, 0.1) == ["throttled: the GPU's clock fell to 614.4 of 921.6 MHz"]


def test_over_current() -> None:
    after = replace(LOCKED, over_current={"hwmon3/oc1_event_cnt": 5, "hwmon3/oc2_event_cnt": 1})
    assert judge(LOCKED, after, [], 0.1) == ["over-current: hwmon3/oc1_event_cnt rose from 2 to 5"]


def test_variation() -> None:
    assert judge(LOCKED, LOCKED, [], 2.0) == []
    assert judge(LOCKED, LOCKED, [], 2.1) == ["unstable: the coefficient of variance is 2.1 %"]
    assert judge(LOCKED, LOCKED, [], 1.4, unstable=True) == ["unstable: the coefficient of variance is 1.4 %"]


def test_power_modes() -> None:
    assert judge(LOCKED, replace(LOCKED, power_mode="5W"), [], 0.1) == [
        "the settings changed from MAXN, GPU clock 921.6 MHz locked to 5W, GPU clock 921.6 MHz locked"
    ]


def test_the_script_reads_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "SYSTEM", str(tmp_path))
    script = ["sh", "-c", query_script() + "state"]
    assert read_state(subprocess.run(script, capture_output=True, text=True).stdout) == State()
    for file, text in {
        "class/devfreq/57000000.gpu/min_freq": "76800000",
        "class/devfreq/57000000.gpu/max_freq": "921600000",
        "class/devfreq/57000000.gpu/cur_freq": "76800000",
        "class/devfreq/31b0000.emc/cur_freq": "1",
        "class/thermal/thermal_zone0/type": "GPU-therm",
        "class/thermal/thermal_zone0/temp": "40000",
        "class/hwmon/hwmon3/oc1_event_cnt": "2",
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(f"{text}\n")
    done = subprocess.run(script, capture_output=True, text=True)
    assert read_state(done.stdout) == replace(FREE, power_mode=None)
