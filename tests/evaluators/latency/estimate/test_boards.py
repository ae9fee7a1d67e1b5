"""The boards' file: published peaks from its numbers, and names that are not in it."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from boostformer.errors import UserError
from evaluators.latency.estimate import boards as module
from evaluators.latency.estimate.boards import FILE, Boards, Mode, architecture, board, boards

# TFLOP/s in FP16 and GB/s, as the modules' datasheets have them.
PEAKS = {
    "jetson-nano": (0.472, 25.6),
    "jetson-tx2": (1.33, 59.7),
    "jetson-xavier-nx": (6.8, 59.7),
    "jetson-agx-xavier": (11.3, 136.5),
    "jetson-orin-nano": (16.7, 102.4),
    "jetson-orin-nx": (19.2, 102.4),
    "jetson-agx-orin": (42.6, 204.8),
}


@pytest.mark.parametrize("name", boards().boards)
def test_the_largest_mode_has_the_published_peaks(name: str) -> None:
    found = board(name)
    mode = found.modes[found.default_mode]
    flops = architecture(found)[0].flops["fp16"] * mode.multiprocessors * mode.gpu_mhz * 1e6
    assert (flops / 1e12, found.bytes_per_second(mode) / 1e9) == pytest.approx(PEAKS[name], rel=0.01)


@pytest.mark.parametrize("name", boards().boards)
def test_no_mode_is_larger_than_the_default(name: str) -> None:
    found = board(name)
    largest = found.modes[found.default_mode]
    for mode in found.modes.values():
        assert mode.gpu_mhz <= largest.gpu_mhz
        assert mode.multiprocessors <= largest.multiprocessors
        assert mode.memory_mhz <= largest.memory_mhz


def test_older_modes_have_the_published_peaks() -> None:
    nx = board("jetson-orin-nx")
    mode = nx.modes["MAXN"]
    assert mode.multiprocessors * 2048 * mode.gpu_mhz * 1e6 == pytest.approx(15.0e12, rel=0.01)
    assert not mode.checked
    nano = board("jetson-orin-nano")
    assert nano.bytes_per_second(nano.modes["15W"]) == pytest.approx(68e9, rel=0.01)


def test_modes_gate_multiprocessors_as_well_as_clocks() -> None:
    _, half = board("jetson-orin-nx").mode("15W")
    name, whole = board("jetson-orin-nx").mode(None)
    assert (name, half.multiprocessors * 2) == ("MAXN_SUPER", whole.multiprocessors)


def test_names_of_modes_and_titles_are_told_apart() -> None:
    titles = [found.title for found in boards().boards.values()]
    assert all(first != second for first, second in combinations(titles, 2))
    assert all(isinstance(name, str) for found in boards().boards.values() for name in found.modes)


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"^board: unknown 'jetson-nan'; did you mean 'jetson-nano'\? allowed: jets"):
        board("jetson-nan")
    with pytest.raises(
        UserError, match=r"^power_mode: Jetson TX2 has no 'MAXP'; did you mean 'MAXQ'\? allowed: MAXN, MA"
    ):
        board("jetson-tx2").mode("MAXP")


def test_a_file_that_does_not_fit_together_is_refused() -> None:
    content = yaml.safe_load(FILE.read_text())
    content["boards"]["jetson-nano"]["architecture"] = "kepler"
    with pytest.raises(ValidationError, match="Jetson Nano: no architecture 'kepler'"):
        Boards.model_validate(content)
    content = yaml.safe_load(FILE.read_text())
    content["architectures"]["volta"]["fitted_on"] = "titan"
    with pytest.raises(ValidationError, match="volta: no board 'titan'"):
        Boards.model_validate(content)
    with pytest.raises(ValidationError, match="turbo"):
        Mode.model_validate({"gpu_mhz": 1, "multiprocessors": 1, "memory_mhz": 1, "turbo": True})


def test_the_file_is_read_as_the_users_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "boards.yaml").write_text("architectures: {}\nboards: {}\nboards: {}\n")
    monkeypatch.setattr(module, "FILE", tmp_path / "boards.yaml")
    with pytest.raises(UserError, match=r"boards\.yaml:3: boards: given twice, first on line 2$"):
        boards.__wrapped__()
