"""The table that compares networks: means over seeds, reductions, what is not comparable, and its forms on paper."""

from __future__ import annotations

from dataclasses import replace

import pytest

from boostformer.errors import UserError
from boostformer.figures import Figure, Latency, Provenance
from results.comparison import COLUMNS, Entry, Scored, compare, differences, shown
from results.publication import typeset

BASIS = {"data": "abc", "split": "validation", "size": [64, 96], "fit": "exact"}
HERE = Provenance("measured", "engine 1", "cpu", "fp32")


def entry(name: str, params: int, *mious: float, ms: float | None = None) -> Entry:
    latency = None if ms is None else Latency(Figure(ms, ms, ms), HERE)
    scores = [Scored(f"{name}-{miou}", miou, miou + 0.2, BASIS) for miou in mious]
    return Entry(name, f"id-{name}", params, params - 100, 10 * params, scores, latency)


def test_rows_have_means_spreads_and_reductions() -> None:
    rows = compare([entry("large", 1100, 0.5, ms=4.0), entry("small", 600, 0.4, 0.42, 0.44, ms=3.0)], "large")
    large, small = rows
    assert set(large) == set(small) == set(COLUMNS)
    assert (large["miou"], large["miou_std"], large["seeds"]) == (0.5, None, 1)
    assert small["miou"] == pytest.approx(0.42) and small["miou_std"] == pytest.approx(0.02)
    assert small["accuracy"] == pytest.approx(0.62) and small["accuracy_std"] == pytest.approx(0.02)
    assert small["deployed_params_reduction_percent"] == pytest.approx(50)
    assert small["params_reduction_percent"] == small["deployed_macs_reduction_percent"] == pytest.approx(45.4545, 1e-4)
    assert small["latency_ms_reduction_percent"] == pytest.approx(25)
    assert small["miou_gain_points"] == pytest.approx(-8)
    assert {large[column] for column in COLUMNS if "reduction" in column or "gain" in column} == {None}


def test_any_network_may_be_the_baseline() -> None:
    large, small = compare([entry("large", 1100, 0.5), entry("small", 600, 0.4)], "small")
    assert large["deployed_params_reduction_percent"] == pytest.approx(-100) and large[
        "miou_gain_points"
    ] == pytest.approx(10)
    assert small["miou_gain_points"] is None and large["latency_ms_reduction_percent"] is None


def test_scores_that_were_not_made_alike_are_told() -> None:
    one, two = entry("one", 500, 0.5), entry("two", 500, 0.5, 0.6)
    assert differences([one, two]) == []
    odd = replace(two.scores[1], basis=BASIS | {"data": "xyz", "size": [32, 32]})
    lines = differences([one, replace(two, scores=[two.scores[0], odd])])
    assert lines == ["data: abc (one, two), xyz (two)", "size: [64, 96] (one, two), [32, 32] (two)"]
    unknown = replace(one.scores[0], basis=BASIS | {"data": None})
    assert differences([replace(one, scores=[unknown]), replace(two, scores=[unknown])]) == ["data: unknown (one, two)"]
    assert differences([replace(one, scores=[unknown])]) == [], "a single score is compared with nothing"


def test_what_says_nothing_is_not_shown() -> None:
    cells, columns = shown(compare([entry("large", 1_100_000, 0.5), entry("small", 600_000, 0.4, 0.42)], "large"))
    assert "latency" not in columns and "seeds" in columns
    assert cells[1]["mIoU (%)"] == "41.00 ± 1.41" and cells[0]["seeds"] == "–"
    assert cells[1]["fewer params (%)"] == "45.5" and cells[0]["fewer params (%)"] == "–"


def test_tables_for_publications() -> None:
    rows = [{"network": "a|b_c", "mIoU (%)": "41.00 ± 1.41"}]
    markdown = typeset(rows, ["network", "mIoU (%)"], "markdown").splitlines()
    assert [len(line.replace("\\|", "").split("|")) for line in markdown] == [4, 4, 4]
    assert "a\\|b_c" in markdown[2] and "41.00 ± 1.41" in markdown[2]
    latex = typeset(rows, ["network", "mIoU (%)"], "latex")
    assert "a|b\\_c & 41.00 ± 1.41 \\\\" in latex and "mIoU (\\%)" in latex and "{lr}" in latex
    with pytest.raises(UserError, match="unknown format 'html'"):
        typeset(rows, ["network"], "html")
