"""The table of trained networks is whole, says the same in all its files, and survives a writer that is killed."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import camvid_table
import pandas as pd
import pytest

from evaluators.costs.table import CostTable
from search_space import read_space

SHORT, LONG = 120, 360


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(camvid_table.DATA / "networks.csv", comment="#", index_col="id")


def test_all_trainings_are_there_once() -> None:
    kinds = Counter((line["iterations"], line["seed"]) for line in camvid_table.trainings())
    assert kinds == {(SHORT, 0): 250, (LONG, 0): 60, (SHORT, 1): 30, (SHORT, 2): 30}
    trained = [(line["id"], line["iterations"], line["seed"]) for line in camvid_table.trainings()]
    assert len(set(trained)) == len(trained)


def test_the_lines_say_what_was_trained(table: pd.DataFrame) -> None:
    scores = [line for line in camvid_table.trainings() if "miou" in line]
    for line in scores:
        assert table.loc[line["id"], f"miou_{line['iterations']}_seed{line['seed']}"] == line["miou"]
    assert table.filter(like="miou").count().sum() == len(scores)


def test_networks_and_costs_are_those_of_the_space(table: pd.DataFrame) -> None:
    space, costs = read_space(camvid_table.DATA / "space.yaml"), CostTable()
    drawn = [space.decode(genes) for genes in camvid_table.genes_of_networks(space)]
    assert [arch.id for arch in drawn] == list(table.index)
    for arch in drawn[::50]:
        row = table.loc[arch.id]
        assert (row["params"], row["macs"]) == (costs.cost(arch).params, costs.cost(arch).macs)
        assert space.decode(tuple(map(int, row["genes"].split()))) == arch
    assert (table[["host_ms", "nano_ms", "tx2_ms", "xavier_ms", "orin_ms"]] > 0).all(axis=None)


def test_its_readme_names_every_column(table: pd.DataFrame) -> None:
    text = (camvid_table.DATA / "README.md").read_text()
    named = set(re.findall(r"`(\w+)`", text)) | {"miou_120_seed1", "miou_120_seed2"}
    assert set(table.columns) <= named


def test_a_line_that_a_killed_writer_cut_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    for cut, left in (('{"id": "a"}\n{"id"', 1), ('{"id"', 0), ("", 0)):
        file.write_text(cut)
        assert len(camvid_table._lines(file)) == left
        with camvid_table._open_to_append(file) as lines:
            lines.write('{"id": "b"}\n')
        assert [line["id"] for line in camvid_table._lines(file)] == ["a", "b"][1 - left :]
