"""Histories of trainings: read as they are written, and refused when they are something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from boostformer.errors import UserError
from boostformer.training import log
from results.history import METRICS, pairs_of, read_history

TEXT = "iteration,loss,lr,miou\n10,2.5,0.1,\n20,nan,0.05,0.25\n30,1.5,0.01,0.5\n40,1."


def test_it_is_the_file_that_a_training_writes() -> None:
    assert METRICS == log.FILE
    assert {"iteration", "loss", "lr", "miou", "accuracy", "images_per_second"} <= set(log.COLUMNS)


def test_rows_are_numbers_and_a_half_written_one_is_left_out(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text(TEXT)
    rows = read_history(tmp_path)
    assert [row["iteration"] for row in rows] == [10, 20, 30]
    assert pairs_of(rows, "loss") == [(10, 2.5), (30, 1.5)]
    assert pairs_of(rows, "miou", 100) == [(20, 25), (30, 50)]
    assert pairs_of(rows, "accuracy") == []


def test_without_a_file_there_are_no_rows(tmp_path: Path) -> None:
    assert read_history(tmp_path) == []


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "iteration,loss,lr,miou\nx,1,1,1\n", "iteration,loss,lr,miou\n1,2\n"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / METRICS).write_text(text)
    if text.endswith("1,2\n") and "lr" in text:  # a row that is too short is one that was cut off
        assert read_history(tmp_path) == [{"iteration": 1, "loss": 2, "lr": None, "miou": None}]
        return
    with pytest.raises(UserError, match=METRICS):
        read_history(tmp_path)


@pytest.mark.parametrize("row", ["20,1,1,1.25", "20,1,1,-0.5", "10,1,1,", "-3,1,1,", ",1,1,", "nan,1,1,0.5"])
def test_a_row_that_no_training_writes_is_damage(tmp_path: Path, row: str) -> None:
    (tmp_path / METRICS).write_text(f"iteration,loss,lr,miou\n10,1,1,0.5\n{row}\n30,1,1,0.5\n")
    with pytest.raises(UserError, match=f"{METRICS}:3: damaged"):
        read_history(tmp_path)
