"""A run file that is written back resolves to the very search that it came from."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_files import FEW, GOOD, NANO, write

from boostformer.errors import UserError
from search.config.experiment import difference
from search.config.frozen import run_file_of
from search.config.opening import resolve


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        FEW.replace("iterations: 10", "iterations: [10, 20, 40], seed: 9").replace("seed: 4", "final_seeds: 3"),
        FEW.replace("  baseline", "  counted: trained\n  baseline"),
        NANO.replace("params: 50%", "latency_ms: 20"),
    ],
    ids=["shipped space", "several rungs", "counted trained", "latency"],
)
def test_a_written_run_file_is_the_same_search(folder: Path, text: str) -> None:
    before, trials = resolve(write(folder, text))
    after, same = resolve(write(folder, run_file_of(before.experiment, trials)))
    assert same == trials == 7
    assert difference(before.experiment.to_dict(), after.experiment.to_dict()) is None
    assert before.experiment.space == after.experiment.space


def test_a_space_may_stand_in_the_run_file(folder: Path) -> None:
    before, _ = resolve(write(folder, FEW))
    text = run_file_of(before.experiment, 7)
    (folder / "small.yaml").unlink()
    assert resolve(write(folder, text))[0].experiment.space == before.experiment.space
    above, _, below = text.rpartition("width: [16]")
    with pytest.raises(UserError, match=rf"run\.yaml:{above.count(chr(10)) + 1}: decoder\.width: .*wide"):
        resolve(write(folder, f"{above}width: [wide]{below}"))
    with pytest.raises(UserError, match=r"run\.yaml:1: space: 7 must be"):
        resolve(write(folder, "space: 7\n"))
