"""Rows as a table, JSON and CSV: nothing cut off, valid, and read back exactly."""

from __future__ import annotations

import csv
import io
import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from result_factories import architecture, make_latency, make_trial

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from results.fitting import least, wrapped
from results.summary import human, summary
from results.tables import COLUMNS, render, tabulate, to_frame, to_json, to_rows
from results.trial import Status

ROWS = to_rows(
    [
        make_trial(0, miou=0.43216, params=1_234_567, macs=2_345_678_901),
        make_trial(1, miou=math.nan, latency=make_latency(12.345, "[bold]host[/bold]")),
    ]
)


def test_columns_come_in_the_promised_order() -> None:
    assert COLUMNS[:6] == ("trial", "id", "miou", "params", "macs", "latency_ms")
    assert COLUMNS[-1] == "architecture"
    assert all(tuple(row) == COLUMNS for row in ROWS)


def test_json_is_valid_and_exact() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    rows = json.loads(render(ROWS, "json"), parse_constant=refuse)
    assert rows == ROWS
    assert rows[1]["miou"] is None
    assert Architecture.from_dict(rows[0]["architecture"]) == architecture(32)
    assert json.loads(render([], "json")) == []
    assert json.loads(to_json({"a": [math.nan, 1.5, {"b": (math.inf,)}]})) == {"a": [None, 1.5, {"b": [None]}]}


def test_csv_reads_back() -> None:
    rows = list(csv.DictReader(io.StringIO(render(ROWS, "csv"))))
    assert [row["macs"] for row in rows] == ["2345678901", "500000000"]
    assert [row["miou"] for row in rows] == ["0.43216", ""]
    assert rows[1]["latency_provenance"] == "measured: trtexec 8.2, [bold]host[/bold], fp16, batch 1"
    assert json.loads(rows[0]["architecture"]) == ROWS[0]["architecture"]
    assert render([], "csv") == ",".join(COLUMNS) + "\n"


def test_table_is_never_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = render(ROWS, "table").splitlines()
    assert "43.22 %" in lines[3] and "1.235 M" in lines[3] and "2.346 G" in lines[3]
    assert summary(ROWS[0]["architecture"]) in lines[3]
    assert "12.35 ms" in lines[4] and "nan" not in lines[4]
    assert not any("…" in line for line in lines)
    assert "reason" not in lines[1]  # empty throughout
    waiting = render(to_rows([make_trial(0, status=Status.WAITING, reason="[bold]no route[/bold]")]))
    assert "reason" in waiting and "│ waiting │ [bold]no route[/bold] │" in waiting


def test_finalists_are_shown_with_both_their_latencies() -> None:
    final = make_latency(12.345, labels_ms=14.5)
    lines = render(to_rows([make_trial(0, latency_ms=11.0, final=final)])).splitlines()
    assert "final_latency_ms" in lines[1] and "final_labels_ms" in lines[1]
    assert all(text in lines[3] for text in ("11.00 ms", "12.35 ms", "14.50 ms"))
    (row,) = csv.DictReader(io.StringIO(render(to_rows([make_trial(0, final=final)]), "csv")))
    assert (row["final_latency_ms"], row["final_provenance"]) == ("12.345", str(final.provenance))


def test_table_folds_into_a_given_width() -> None:
    lines = render(ROWS, "table", width=120).splitlines()
    assert max(map(len, lines)) <= 120
    assert all(any(row["id"] in line for line in lines) for row in ROWS)


@pytest.mark.parametrize("width", [20, 60, 80, 100])
def test_numbers_and_ids_are_whole_on_any_terminal(width: int) -> None:
    wide, narrow = render(ROWS), render(ROWS, width=width)
    lines = [line for line in narrow.splitlines() if line[:1] not in "┏┡└"]
    assert all(len(line) <= max(width, 80) for line in lines[:-1])
    columns = [name.strip() for name in lines[0].strip("┃").split("┃")]
    known = [name.strip() for name in wide.splitlines()[1].strip("┃").split("┃")]
    assert {"trial", "id", "miou", "params", "macs"} <= set(columns) < set(known)
    told = {name.strip() for name in lines[-1].removeprefix("in a wider terminal, or another --format: ").split(",")}
    assert told == set(known) - set(columns) and "architecture" in told
    for row, line in zip(wide.splitlines()[3:-1], lines[1:], strict=False):
        whole = dict(zip(known, (cell.strip() for cell in row.strip("│").split("│")), strict=True))
        shown = dict(zip(columns, (cell.strip() for cell in line.strip("│").split("│")), strict=True))
        assert shown == {name: whole[name] for name in columns}


def test_columns_are_dropped_in_turn_and_words_stay_whole() -> None:
    rows = [
        {"block": "universal_inverted_bottleneck", "options": "start 0/3/5; middle 0/3/5; ratio 2/3/4/6", "n": 1234}
    ]

    def words(width: int | None) -> list[str]:
        return tabulate(rows, columns=["block", "options", "n"], width=width, drop=["n", "options"]).split()

    assert {"universal_inverted_bottleneck", "start", "2/3/4/6", "1,234"} <= set(words(None)) & set(words(80))
    assert {"universal_inverted_bottleneck", "start", "2/3/4/6"} <= set(words(62)) and words(62)[-1] == "n"
    assert words(40)[-2:] == ["n,", "options"] and "start" not in words(40)
    assert "universal_inverted_bottleneck" in words(10)


@given(st.text("ab /+.", max_size=60), st.integers(1, 40))
def test_a_text_is_broken_between_words_alone(text: str, width: int) -> None:
    lines = wrapped(text, max(width, least(text))).split("\n")
    assert all(len(line) <= max(width, least(text)) for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    words = [word for word in re.split(r"[\s/+.]", text) if word]
    assert [word for line in lines for word in re.split(r"[\s/+.]", line) if word] == words


def test_table_of_nothing_shows_the_columns() -> None:
    assert "trial" in render([], "table")


def test_unknown_format() -> None:
    with pytest.raises(UserError, match="unknown format 'jsn'; did you mean 'json'"):
        render(ROWS, "jsn")


def test_any_rows_make_a_table_under_a_caption() -> None:
    rows = [{"part": "[b]stem[/b]", "params": 12345, "iou": None}, {"part": "total", "params": 7, "iou": 12.34567}]
    lines = tabulate(rows, "table", columns=list(rows[0]), caption="net at 32x64").splitlines()
    assert lines[0] == "net at 32x64"
    assert "[b]stem[/b]" in lines[4] and "12,345" in lines[4] and "–" in lines[4]
    assert "│      7 │" in lines[5] and "12.35" in lines[5]  # to the right, under the other digits
    assert tabulate(rows, "csv", columns=["params", "iou"]) == "params,iou\n12345,\n7,12.34567\n"


def test_summary_joins_neighbours_of_the_same_blocks() -> None:
    assert summary(architecture(32).to_dict()) == (
        "32x2 64x2 overlap_conv/efficient_attention+mix_ffn | 128x2 overlap_conv/pooling+mix_ffn"
        " | 256x2 overlap_conv/efficient_attention+mix_ffn | weighted_sum 128"
    )


def test_numbers_for_people() -> None:
    assert human("miou", 0.5) == "50.00 %"
    assert human("trial", 7) == "7"
    assert human("latency_ms", None) == ""


def test_a_frame_holds_what_the_rows_do() -> None:
    trials = [make_trial(3, miou=0.5), make_trial(4, miou=None)]
    frame = to_frame(trials)
    assert list(frame.columns) == list(COLUMNS)
    assert frame["trial"].tolist() == [3, 4]
    assert frame["miou"][0] == 0.5 and frame["miou"].isna()[1]
    assert frame["architecture"][0] == trials[0].architecture
