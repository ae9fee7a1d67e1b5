"""`devices.yaml`: the devices that are known, and every mistake in it in one line with its place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from boostformer.errors import UserError
from boostformer.files import cache_folder
from evaluators.latency.device import DeviceConfig, MeterConfig
from evaluators.latency.devices import (
    DEFAULT,
    KINDS,
    SHIPPED,
    VARIABLE,
    EstimateDevice,
    HostDevice,
    JetsonDevice,
    TableDevice,
    find,
    read_devices,
)
from evaluators.latency.estimate.boards import boards

REPOSITORY = Path(__file__).resolve().parents[3]
MINE = """\
# all the kinds there are
desk: {kind: host, threads: 2, seconds: 0.5}
nano:
  kind: jetson
  address: nano.local
  user: me
  port: 2222
  key: keys/nano
  power_mode: MAXN
nano-table: {kind: table, of: nano, file: tables/nano.jsonl}
slow-orin: {kind: estimate, board: jetson-agx-orin, precision: fp32}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which one works."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str = MINE, name: str = DEFAULT) -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_the_shipped_devices_need_no_file() -> None:
    entries = read_devices()
    assert all(entry.shipped for entry in entries.values())
    assert entries["host"].device == HostDevice(kind="host", threads=1)
    table = entries["host-table"]
    assert isinstance(table.device, TableDevice) and table.device.of == "host"
    assert table.folder == cache_folder() / "latency", "what is measured is never written into the program's folder"
    assert set(boards().boards) <= set(entries), "each board can be estimated by its name"
    for name, entry in entries.items():
        if isinstance(entry.device, EstimateDevice):
            assert entry.open().provenance().kind == "estimated" and name == entry.device.board


def test_reading_entries_imports_nothing_heavy() -> None:
    heavy = {"torch", "onnx", "onnxruntime", "paramiko"}
    code = "import sys\nfrom evaluators.latency.devices import read_devices\nread_devices()\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert heavy.isdisjoint(done.stdout.split())


@pytest.mark.parametrize("config", KINDS.values())
def test_settings_of_its_place_are_settings_of_a_device(config: type[DeviceConfig]) -> None:
    assert set(config.model_fields) >= config.PLACE and get_args(config.model_fields["kind"].annotation)


def test_the_shipped_file_shows_an_example_of_each_kind() -> None:
    text = SHIPPED.read_text()
    assert all(f"kind: {kind}" in text for kind in KINDS)


def test_a_file_here_is_read_beside_the_shipped_one(here: Path) -> None:
    write(here)
    entries = read_devices()
    assert {"host", "desk", "nano", "nano-table", "slow-orin"} <= set(entries)
    assert entries["desk"].device == HostDevice(kind="host", threads=2, seconds=0.5)
    nano = entries["nano"]
    assert nano.device == JetsonDevice(
        kind="jetson", address="nano.local", user="me", port=2222, key=Path("keys/nano"), power_mode="MAXN"
    )
    assert (nano.folder, nano.where, nano.shipped) == (here, "devices.yaml:3", False)
    assert entries["nano-table"].device == TableDevice(kind="table", of="nano", file=Path("tables/nano.jsonl"))
    assert entries["slow-orin"].device == EstimateDevice(kind="estimate", board="jetson-agx-orin", precision="fp32")


def test_the_variable_names_another_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here, "wrong: {kind: host}")
    (here / "else").mkdir()
    path = write(here / "else", name="mine.yaml")
    monkeypatch.setenv(VARIABLE, str(path))
    entries = read_devices()
    assert "wrong" not in entries and entries["nano"].folder == here / "else"
    assert entries["nano"].where == f"{path}:3"
    monkeypatch.setenv(VARIABLE, "no.yaml")
    with pytest.raises(UserError, match=r"^no\.yaml: no such file"):
        read_devices()


def test_an_entry_of_one_s_own_replaces_a_shipped_one(here: Path) -> None:
    write(here, "host: {kind: host, threads: 4}")
    entry = find("host")
    assert entry.device == HostDevice(kind="host", threads=4) and not entry.shipped


def test_a_shipped_name_does_not_become_another_kind_of_device(here: Path) -> None:
    write(here, "host: {kind: estimate, board: jetson-nano}")
    with pytest.raises(UserError, match=r":1: host: is of kind estimate, but 'host' is a device of kind host"):
        find("host")


def test_what_a_device_s_figures_are_about(here: Path) -> None:
    write(here)
    for name, about in (("desk", "desk"), ("nano", "nano"), ("nano-table", "nano"), ("host-table", "host")):
        found = find(name).measuring()
        assert found is not None and found.name == about
    assert find("slow-orin").measuring() is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "kind: jetson",
            "kind: jetsen",
            r"devices\.yaml:4: nano\.kind: unknown kind 'jetsen'; did you mean 'jetson'\?",
        ),
        (
            "kind: jetson",
            "kind: [jetson]",
            r"devices\.yaml:4: nano\.kind: unknown kind '\['jetson'\]'; .*allowed: host, ",
        ),
        ("  kind: jetson\n", "", r"devices\.yaml:3: nano: has no kind; allowed: host, "),
        ("  user: me", "  usr: me", r"devices\.yaml:6: nano\.usr: unknown key; did you mean 'user'\?"),
        (
            "  user: me",
            "  password: me",
            r"devices\.yaml:6: nano\.password: unknown key; .*allowed: kind, address, user",
        ),
        ("2222", "70000", r"devices\.yaml:7: nano\.port: 70000 should be less than or equal to 65535"),
        ("2222", "0", r"devices\.yaml:7: nano\.port: 0 should be greater than or equal to 1"),
        ("2222", "ssh", r"devices\.yaml:7: nano\.port: 'ssh' must be a whole number"),
        ("  address: nano.local\n", "", r"devices\.yaml:3: nano\.address: missing"),
        ("of: nano, ", "", r"devices\.yaml:\d+: nano-table\.of: missing"),
        ("fp32", "int8", r"devices\.yaml:11: slow-orin\.precision: unknown 'int8'; allowed: fp16, fp32"),
        ("threads: 2", "threads: 0", r"devices\.yaml:2: desk\.threads: 0 should be greater than or equal to 1"),
        (
            "{kind: host, threads: 2, seconds: 0.5}",
            "host",
            r"devices\.yaml:2: desk: is not a mapping of keys to values",
        ),
        ("desk:", "nano:", r"devices\.yaml:3: nano: given twice, first on line 2"),
        ("desk:", "7:", r"devices\.yaml:2: 7: '7' is not a word"),
        ("desk: {", "desk: {{", r"devices\.yaml:\d+: not YAML"),
        (MINE, "", r"devices\.yaml: empty"),
        (MINE, "- host\n", r"devices\.yaml:1: top level: is not a mapping of names to devices"),
    ],
)
def test_mistakes_are_one_line_that_names_the_place(here: Path, old: str, new: str, message: str) -> None:
    assert old in MINE
    write(here, MINE.replace(old, new))
    with pytest.raises(UserError, match=f"^{message}") as caught:
        find("desk")
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_known_has_neighbours(here: Path) -> None:
    write(here)
    with pytest.raises(UserError, match=r"unknown device 'nanno'; did you mean 'nano'\? allowed: .*devices\.yaml"):
        find("nanno")


def test_a_device_of_the_wrong_kind_is_refused(here: Path) -> None:
    write(here)
    with pytest.raises(UserError, match="'jetson-tx2' is a device of kind estimate; .*allowed: .*nano") as caught:
        find("jetson-tx2", MeterConfig)
    assert "slow-orin" not in str(caught.value) and "desk" in str(caught.value)
    with pytest.raises(UserError, match="'nano' is a device of kind jetson"):
        find("nano", TableDevice)
    assert find("nano", MeterConfig).device.kind == "jetson"


def test_a_table_of_a_device_that_cannot_be_measured_is_refused(here: Path) -> None:
    write(here, "odd: {kind: table, of: jetson-tx2, file: a.jsonl}\nlost: {kind: table, of: nanno, file: a.jsonl}")
    with pytest.raises(UserError, match="'jetson-tx2' is a device of kind estimate"):
        find("odd").measuring()
    with pytest.raises(UserError, match="unknown device 'nanno'"):
        find("lost").measuring()


def test_a_board_or_power_mode_that_does_not_exist_is_refused_when_it_is_opened(here: Path) -> None:
    write(here, "odd: {kind: estimate, board: jetson-nona}\nhot: {kind: estimate, board: jetson-nano, power_mode: 90W}")
    with pytest.raises(UserError, match="board: unknown 'jetson-nona'; did you mean 'jetson-nano'"):
        find("odd").open()
    with pytest.raises(UserError, match="power_mode: .* has no '90W'"):
        find("hot").open()
