"""The file of a latency table: what was measured is kept, through crashes too, and nothing else gets in."""

from __future__ import annotations

import math
import multiprocessing
import warnings
from pathlib import Path

import pytest
from latency_cases import OTHER, PROVENANCE, all_elements, made_up, sampled

from boostformer.errors import UserError
from boostformer.json_lines import JsonLines
from boostformer.locks import FileLock
from evaluators.costs.table import part_key
from evaluators.latency.table.file import VERSION, Row, TableFile


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


def read(file: Path, damaged: list[str]) -> TableFile:
    """The table, about which these warnings are given."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        table = TableFile(file)
    assert [str(line.message) for line in told] == [f"{file}: damaged and set aside: line {these}" for these in damaged]
    return table


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
def test_a_last_line_that_a_crash_cut_is_set_aside_and_measured_again(file: Path, cut: int) -> None:
    """Also the second time the file is read: the fragment stands between whole lines then."""
    whole = file.read_text()
    element = all_elements()[5]
    TableFile(file).add_element(element, made_up(4.0), "graph", "code", PROVENANCE)
    line = file.read_text()[len(whole) :]
    file.write_text(whole + line[:cut])  # of the last, all but the line's end is there
    lost = cut != -1
    for _ in range(2):
        table = read(file, damaged=["8"] if lost else [])
        assert len(table.elements) == 5 - lost and len(table.networks) == 2
    table.add_element(element, made_up(4.0), "graph", "code", PROVENANCE)
    table.add_element(all_elements()[6], made_up(4.0), "graph", "code", PROVENANCE)
    assert file.read_text().startswith(whole + line[:cut] + "\n"), "nothing is taken away"
    again = read(file, damaged=["8"] if lost else [])
    assert again.elements[part_key(element)].ms == 4.0 and len(again.elements) == 6


def test_damaged_lines_are_set_aside_and_the_others_kept(file: Path) -> None:
    lines = file.read_text().splitlines()
    lines[1] = lines[1].replace('"ms": 2.5', '"ms": 7.5')
    lines[4] = lines[4].replace('"version": 2', '"version": 3')
    lines[6:6] = ["{", "[]", "7", '"element"', "", "[" * 10**5, "ms: 3", "\x00\ufffd"]
    file.write_text("\n".join(lines) + "\n")
    table = read(file, damaged=["2, 5, 7, 8, 9, 10, 11, 12, 13, 14"])
    keys = [part_key(element) for element in all_elements()[:4]]
    assert list(table.elements) == [keys[0], *keys[2:]]
    assert len(table.networks) == 1 and list(table.spaces) == ["mine"]


@pytest.mark.parametrize("ms", [math.nan, math.inf, 0.0, -1.0, "1"])
def test_what_is_no_figure_is_set_aside_whatever_its_checksum(file: Path, ms: object) -> None:
    row = {**Row("x", made_up(1.0), "", "", PROVENANCE).to_dict(), "ms": ms}
    with JsonLines(file, VERSION).locked() as append:
        for entry in ({"element": "x", **row}, {"element": "y"}, {"space": "y"}, {"network": "z", "ms": 1.0}):
            append(entry)
    table = read(file, damaged=["8, 9, 10, 11"])
    assert len(table.elements) == 4 and len(table.networks) == 2 and list(table.spaces) == ["mine"]


def test_what_is_no_space_is_set_aside_whatever_its_checksum(file: Path) -> None:
    with JsonLines(file, VERSION).locked() as append:
        for name, choices in (([], {}), ({}, {}), (None, {}), (1, {}), ("b", []), ("b", None), ("b", "c")):
            append({"space": name, "choices": choices})
        append({"space": "b"})
    table = read(file, damaged=["8, 9, 10, 11, 12, 13, 14, 15"])
    assert table.spaces == {"mine": {"version": 1}}


def test_several_processes_fill_one_table_and_no_row_is_lost(tmp_path: Path) -> None:
    """A third one tears lines at the same time."""
    file, wanted = tmp_path / "table.jsonl", {part_key(element) for element in all_elements()[:20]}
    with multiprocessing.get_context("fork").Pool(3) as pool:
        jobs = [pool.apply_async(fill, (file, number)) for number in range(2)]
        pool.apply(tear, (file,))
        for job in jobs:
            job.get(timeout=60)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        table = TableFile(file)
    assert set(table.elements) == wanted
    assert len(file.read_text().splitlines()) >= 40
    assert {row.ms for row in table.elements.values()} <= {1.0, 2.0}


def fill(file: Path, number: int) -> None:
    warnings.simplefilter("ignore")
    table = TableFile(file)
    for element in all_elements()[:20]:
        table.add_element(element, made_up(number + 1.0), "graph", "code", PROVENANCE)


def tear(file: Path) -> None:
    """Appends beginnings of lines, as writers do that die or find the disk full; each holds the lock, as they do."""
    for cut in range(1, 21):
        with FileLock(file), file.open("a") as stream:
            stream.write('{"element": "torn by a crash'[:cut])


def test_a_process_sees_what_others_have_added(file: Path) -> None:
    one, other = TableFile(file), TableFile(file)
    one.add_element(all_elements()[4], made_up(5.0), "graph", "code", PROVENANCE)
    other.add_element(all_elements()[5], made_up(6.0), "graph", "code", PROVENANCE)
    assert other.elements[part_key(all_elements()[4])].ms == 5.0 and other.digest == TableFile(file).digest


def test_of_two_processes_that_begin_a_table_one_decides_the_provenance(tmp_path: Path) -> None:
    file = tmp_path / "table.jsonl"
    one, other = TableFile(file), TableFile(file)
    one.add_element(all_elements()[0], made_up(1.0), "graph", "code", PROVENANCE)
    with pytest.raises(UserError, match="different provenance are never mixed"):
        other.add_element(all_elements()[1], made_up(1.0), "graph", "code", OTHER)
    assert len(TableFile(file).elements) == 1


def test_a_file_of_the_format_before_is_refused(file: Path) -> None:
    file.write_text('{"element": "x", "ms": 1.0, "provenance": "measured: made up"}\n')
    with pytest.raises(UserError, match=r"table\.jsonl:1: is of format 1, this program reads 2: move the file away$"):
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
    with JsonLines(file, VERSION).locked() as append:
        append({"element": "x", **Row("x", made_up(1.0), "", "", OTHER).to_dict()})
    with pytest.raises(UserError, match=r"table\.jsonl:8: .*1 thread', those of now would be '.*2 threads'"):
        TableFile(file)


def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        TableFile(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\n7\n")
    with pytest.raises(UserError, match="binary: cannot be read") as caught:
        TableFile(tmp_path / "binary")
    assert "\n" not in str(caught.value)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"table\.jsonl: cannot be read: Not a directory"):
        TableFile(tmp_path / "file" / "table.jsonl")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    table = TableFile(tmp_path / "file" / "table.jsonl")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"table\.jsonl: cannot be written"):
        table.add_element(all_elements()[0], made_up(1.0), "graph", "code", PROVENANCE)
