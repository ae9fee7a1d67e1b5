"""Counts kept on disk: found again, and never believed once they are damaged."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import boostformer.blocks.ffn
import boostformer.fold
import boostformer.parts
from boostformer import presets
from boostformer.fingerprints import ROOT
from evaluators.costs import counting, kept, table
from evaluators.costs.counting import Cost
from evaluators.costs.kept import KeptCosts
from evaluators.costs.populations import Population
from evaluators.costs.table import CostTable
from search_space import slot_indices, space_from_yaml

ARCH = presets.load("boostformer_b0", size=(64, 64))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file with all parts of a network."""
    file = tmp_path_factory.mktemp("costs") / "costs.txt"
    CostTable(file).cost(ARCH)
    return file.read_bytes()


@pytest.fixture(scope="module")
def fresh() -> Cost:
    return CostTable(file=None).cost(ARCH)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "costs.txt"


@contextmanager
def warned(expected: str | None) -> Iterator[None]:
    """Whether it is said, once, that lines are damaged."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    messages = [str(warning.message) for warning in caught if "costs" in str(warning.message)]
    assert len(messages) == (expected is not None) and all(expected in message for message in messages if expected)


def never(*counted: object) -> Cost:
    raise AssertionError(f"counted again: {counted}")


def test_a_file_is_read_once_and_then_what_came_since(
    written: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, lines = tmp_path / "costs.txt", written.splitlines(keepends=True)
    taken: list[bytes] = []
    take = KeptCosts._take
    monkeypatch.setattr(KeptCosts, "_take", lambda self, line: taken.append(line) or take(self, line))
    file.write_bytes(b"".join(lines[:-1]))
    KeptCosts(file)
    taken.clear()
    with file.open("ab") as other:
        other.write(lines[-1])
    whole = KeptCosts(file)
    assert taken == lines[-1:] and len(whole._costs) == len(lines)
    taken.clear()
    file.write_bytes(b"".join(lines[1:]))
    assert len(KeptCosts(file)._costs) == len(lines) - 1 and taken == lines[1:]


def test_what_is_kept_is_not_counted_again(
    written: bytes, fresh: Cost, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_bytes(written)
    monkeypatch.setattr(table, "count", never)
    with warned(None):
        assert CostTable(file).cost(ARCH) == fresh


@given(st.data())
@settings(max_examples=60)
def test_flipped_bits_are_counted_again_and_mended(
    written: bytes, fresh: Cost, file: Path, data: st.DataObject
) -> None:
    content = bytearray(written)
    bits = data.draw(st.sets(st.integers(0, 8 * len(content) - 1), min_size=1, max_size=4), label="bits")
    for bit in bits:
        content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)
    with warned("damaged in"):
        assert CostTable(file).cost(ARCH) == fresh
    with warned(None):
        assert CostTable(file).cost(ARCH) == fresh


@given(st.data())
@settings(max_examples=30)
def test_a_line_torn_by_a_crash_is_counted_again(written: bytes, fresh: Cost, file: Path, data: st.DataObject) -> None:
    left = data.draw(st.integers(1, len(written) - 1), label="bytes left")
    file.write_bytes(written[:left])
    with warned(None if written[left - 1 : left] == b"\n" else "damaged in 1 lines"):
        assert CostTable(file).cost(ARCH) == fresh
    with warned(None):
        assert CostTable(file).cost(ARCH) == fresh


contents = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=50).map(lambda text: text.encode(errors="replace")),
    st.from_regex(rb"-?[0-9]{0,20} [0-9e.]{0,25} [0-9]{0,9} .{0,9}"),
)


@given(st.lists(st.tuples(contents, st.booleans()), max_size=6))
def test_whatever_a_file_holds_it_is_read(file: Path, lines: list[tuple[bytes, bool]]) -> None:
    """Also lines with a right checksum."""
    checked = (b"%s %s" % (hashlib.sha256(c).hexdigest()[:16].encode(), c) if right else c for c, right in lines)
    file.write_bytes(b"\n".join(checked))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = KeptCosts(file)
        found.add("part", Cost(1, 2, 3))
    assert KeptCosts(file).get("part") == Cost(1, 2, 3)


@pytest.mark.parametrize("obstacle", ["a file where the folder should be", "a folder where the file should be"])
def test_a_file_that_cannot_be_used_is_said_and_does_no_harm(obstacle: str, tmp_path: Path, fresh: Cost) -> None:
    file = tmp_path / "folder" / "costs.txt"
    if obstacle.startswith("a file"):
        file.parent.write_text("in the way")
    else:
        file.mkdir(parents=True)
    with warned("counts are not kept for later"):
        assert CostTable(file).cost(ARCH) == fresh


def test_a_count_does_not_outlive_the_code_that_made_it() -> None:
    covered = {path for pattern in table.CODE for path in ROOT.glob(pattern)}
    deciding = [table, kept, counting, boostformer.parts, boostformer.fold, boostformer.blocks.ffn]
    assert {Path(str(module.__file__)) for module in deciding} <= covered


SPACE = """\
version: 1
size: 64x64
classes: 4
stages:
  - &one {width: [8, 16], depth: 1, embed: {overlap_conv: {}}, mixer: {pooling: {}}, ffn: {mix_ffn: {ratio: [2, 4]}}}
  - *one
  - *one
  - *one
decoder: {width: 16, fusion: {concat: {}}}
"""


def population(file: Path | None) -> np.ndarray:
    """The costs of all networks of the space."""
    space = space_from_yaml(SPACE)
    found = Population(CostTable(file), space.slots, space.size, space.classes)
    return found.figures(slot_indices(space, space.encode(space)))


def test_the_tables_of_a_population_are_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = population(None)
    assert np.array_equal(population(tmp_path / "costs.txt"), fresh)
    monkeypatch.setattr(CostTable, "part", never)
    assert np.array_equal(population(tmp_path / "costs.txt"), fresh)


@given(st.data())
@settings(max_examples=30)
def test_damaged_tables_of_a_population_are_counted_again(file: Path, data: st.DataObject) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fresh = population(file)
    (rows,) = file.parent.glob("*.rows")
    content = bytearray(rows.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1), label="bit")
    content[bit // 8] ^= 1 << bit % 8
    left = data.draw(st.sampled_from([len(content), len(content) - 1, bit // 8]), label="bytes left")
    rows.write_bytes(content[:left])
    with warned("damaged, and counted anew"):
        assert np.array_equal(population(file), fresh)
    with warned(None):
        assert np.array_equal(population(file), fresh)
