"""A run's device: as it was when the run began, and as it is described where a worker runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from latency_factories import OTHER, Device

from boostformer.errors import UserError
from evaluators.latency.backend import Unavailable
from evaluators.latency.devices import Entry
from search.config.timing import Timing

BOARD = """\
nano:
  kind: jetson
  address: 192.0.2.7
  precision: fp16
"""


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of devices with one board, which answers."""
    file = tmp_path / "devices.yaml"
    file.write_text(BOARD)
    monkeypatch.setenv("BOOSTFORMER_DEVICES", str(file))
    monkeypatch.setattr(Entry, "open", lambda entry: Device())
    return file


def test_a_board_that_is_off_does_not_keep_a_run_from_being_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    def off(entry: Entry) -> Device:
        raise Unavailable("no route to host")

    earlier, _ = Timing.of("host")
    monkeypatch.setattr(Entry, "open", off)
    assert Timing.of("host", earlier) == (earlier, None)
    changed = earlier.model_copy(update={"entry": earlier.entry | {"threads": 7}})
    for other in (None, changed, earlier.model_copy(update={"device": "mine"})):
        with pytest.raises(UserError, match="device 'host' cannot be reached: no route to host"):
            Timing.of("host", other)


def test_a_board_is_reached_as_it_is_described_here(devices: Path) -> None:
    """A study decides neither where a worker connects to nor with which key."""
    began, _ = Timing.of("nano")
    assert "192.0.2.7" not in began.model_dump_json()
    devices.write_text(BOARD.replace("192.0.2.7", "198.51.100.1\n  key: mine"))
    assert began.described().device.model_dump()["address"] == "198.51.100.1"
    assert Timing.of("nano", began) == (began, None)


def test_a_board_that_is_described_otherwise_is_refused(devices: Path) -> None:
    began, _ = Timing.of("nano")
    devices.write_text(BOARD.replace("fp16", "fp32"))
    with pytest.raises(UserError) as refused:
        began.open()
    assert str(refused.value) == (
        f"{devices}:1: device 'nano': precision is 'fp32', the run began with 'fp16'; "
        "describe it so, or begin another run"
    )


def test_a_stored_device_is_read_back_and_keeps_its_provenance(devices: Path) -> None:
    began, _ = Timing.of("nano")
    assert Timing.model_validate(began.model_dump(mode="json")) == began
    with pytest.raises(UserError, match="device 'nano': bring it back") as refused:
        began.require_same(OTHER)
    assert f"'{began.provenance}'" in str(refused.value) and f"'{OTHER}'" in str(refused.value)
