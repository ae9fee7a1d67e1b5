"""The file of a latency table: what was measured is kept, through crashes too, and nothing else gets in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from latency_cases import OTHER, PROVENANCE, all_elements, made_up, sampled

from boostformer.errors import UserError
from evaluators.costs.table import part_key
from evaluators.latency.table.file import Row, TableFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Of four elements, two networks and a space: seven lines."""
    table = TableFile(tmp_path / "new" / "table.jsonl")
    for number, element in enumerate(all_elements()[:4]):
        table.add_element(element, made_up(number + 1.5), f"graph{number}", "code", PROVENANCE)
    for arch in sampled(2):
        table.add_network(arch, made_up(20.0), "graph", "code", PROVENANCE)
    table.add_space("mine", {"version": 1})
    return table.file


def test_what_was_added_is_read_again(file: Path) -> None:
    found = TableFile(file)
    first = all_elements()[0]
    assert found.elements[part_key(first)] == Row(part_key(first), made_up(1.5), "graph0", "code", PROVENANCE)
    assert list(found.elements) == [part_key(element) for element in all_elements()[:4]]
    assert list(found.networks) == [arch.to_json() for arch in sampled(2)]
    assert (found.spaces, found.provenance) == ({"mine": {"version": 1}}, PROVENANCE)
    assert len(file.read_text().splitlines()) == 7


def test_a_file_that_is_not_there_is_an_empty_table(tmp_path: Path) -> None:
    found = TableFile(tmp_path / "no.jsonl")
    assert (found.elements, found.networks, found.spaces, found.provenance) == ({}, {}, {}, None)
    found.check(OTHER)
    assert not found.file.exists(), "only what is added is written"


def test_a_later_line_replaces_an_earlier_one(file: Path) -> None:
    table, element = TableFile(file), all_elements()[0]
    before = table.digest
    table.add_element(element, made_up(9.0), "other", "newer", PROVENANCE)
    again = TableFile(file)
    assert (again.elements[part_key(element)].ms, again.elements[part_key(element)].code) == (9.0, "newer")
    assert len(again.elements) == 4 and again.digest == table.digest != before


def test_the_digest_is_of_the_figures_and_not_of_their_order(file: Path) -> None:
    digest = TableFile(file).digest
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(reversed(lines)))
    assert TableFile(file).digest == digest
    file.write_text("".join(lines[1:]))
    assert TableFile(file).digest != digest


def test_the_space_that_was_profiled_last_comes_last(file: Path) -> None:
    table = TableFile(file)
    table.add_space("mine", {"version": 1})
    assert len(file.read_text().splitlines()) == 7, "it is the last one already"
    table.add_space("other", {"version": 1})
    table.add_space("mine", {"version": 2})
    assert list(TableFile(file).spaces.items()) == [("other", {"version": 1}), ("mine", {"version": 2})]


@pytest.mark.parametrize("cut", [1, 20, 200, -1])
def test_a_last_line_that_a_crash_cut_is_measured_again(file: Path, cut: int) -> None:
    """Also the second time the file is read: the fragment stands between whole lines then."""
    whole = file.read_text()
    element = all_elements()[5]
    TableFile(file).add_element(element, made_up(4.0), "graph", "code", PROVENANCE)
    line = file.read_text()[len(whole) :]
    file.write_text(whole + line[:cut])  # of the last, all but the line's end is there
    for _ in range(2):
        table = TableFile(file)
        assert len(table.elements) == (5 if cut == -1 else 4) and len(table.networks) == 2
    table.add_element(element, made_up(4.0), "graph", "code", PROVENANCE)
    table.add_element(all_elements()[6], made_up(4.0), "graph", "code", PROVENANCE)
    again = TableFile(file)
    assert again.elements[part_key(element)].ms == 4.0 and len(again.elements) == 6


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "7", '"element"', "", '{"element": "x", "version": 2}', '{"space": "x", "version": 2}', "ms: 3"],
)
def test_a_damaged_line_is_named(file: Path, line: str) -> None:
    lines = file.read_text().splitlines()
    lines.insert(2, line)
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"^[^\n]*table\.jsonl:3: is not a line of a latency table$"):
        TableFile(file)


def test_a_last_line_that_is_whole_but_damaged_is_named(file: Path) -> None:
    file.write_text(file.read_text() + "oops\n")
    with pytest.raises(UserError, match=r"table\.jsonl:8: is not a line"):
        TableFile(file)


def test_a_file_of_the_format_before_is_refused(file: Path) -> None:
    file.write_text('{"element": "x", "ms": 1.0, "provenance": "measured: made up"}\n')
    with pytest.raises(UserError, match=r"table\.jsonl:1: is of a latency table's format 1, this program reads 2;"):
        TableFile(file)


def test_figures_of_two_devices_are_never_in_one_file(file: Path) -> None:
    table = TableFile(file)
    with pytest.raises(
        UserError, match=f"table.jsonl: its figures are '{PROVENANCE}', those of now would be '{OTHER}'"
    ):
        table.check(OTHER)
    with pytest.raises(UserError, match="different provenance are never mixed"):
        table.add_element(all_elements()[4], made_up(1.0), "graph", "code", OTHER)
    assert len(file.read_text().splitlines()) == 7
    with file.open("a") as stream:
        row = Row("x", made_up(1.0), "", "", OTHER).to_dict()
        stream.write(json.dumps({"element": "x", **row, "version": 2}) + "\n")
    with pytest.raises(UserError, match=r"table\.jsonl:8: .*1 thread', those of now would be '.*2 threads'"):
        TableFile(file)


def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        TableFile(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="binary: cannot be read") as caught:
        TableFile(tmp_path / "binary")
    assert "\n" not in str(caught.value)
    (tmp_path / "file").touch()
    table = TableFile(tmp_path / "file" / "table.jsonl")
    with pytest.raises(UserError, match=r"table\.jsonl: cannot be (read|written)"):
        table.add_element(all_elements()[0], made_up(1.0), "graph", "code", PROVENANCE)
