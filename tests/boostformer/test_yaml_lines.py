"""YAML that is read, and what is refused before it costs anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.files import LONGEST, read_text
from boostformer.yaml_lines import MAX_DEPTH, MAX_NODES, compose

BLOCKS = "\n".join(" " * i + "- " for i in range(900))
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 2000))
LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 20))
KEYS = "a0: &a0 x\n" + "".join(f"a{i}: &a{i} {{? *a{i - 1} : *a{i - 1}}}\n" for i in range(1, 40))


def read(text: str) -> object:
    return compose(text, "a.yaml", needs="something").plain()


def test_what_aliases_stand_for_is_read() -> None:
    assert read("a: &a [1, &b {c: 2}]\nd: *a\ne: *b\n") == {"a": [1, {"c": 2}], "d": [1, {"c": 2}], "e": {"c": 2}}
    assert read("[" * (MAX_DEPTH - 1) + "x" + "]" * (MAX_DEPTH - 1))
    assert read(f"[{'x, ' * 50_000}]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[" * 5000, f"a.yaml:1: is nested more than {MAX_DEPTH} deep"),
        ("a:\n  " + "{b: " * 5000, f"a.yaml:2: is nested more than {MAX_DEPTH} deep"),
        (BLOCKS, f"a.yaml:{MAX_DEPTH + 1}: is nested more than {MAX_DEPTH} deep"),
        ("[" * MAX_DEPTH + "x" + "]" * MAX_DEPTH, f"a.yaml:1: is nested more than {MAX_DEPTH} deep"),
        (CHAIN, f"a.yaml:{MAX_DEPTH}: is nested more than {MAX_DEPTH} deep"),
        (LAUGHS, f"a.yaml:6: comes to more than {MAX_NODES:,} keys and values, its aliases replaced"),
        (KEYS, f"a.yaml:1: comes to more than {MAX_NODES:,} keys and values, its aliases replaced"),
        ("a: &a [1, *a, *a]", "a.yaml:1: a.1: contains itself"),
        ("a: " + ":".join(["1"] * 300) + ".5", "a.yaml:1: a: '1:1:.*' cannot be read as a value"),
    ],
    ids=["list", "mapping", "block", "one too deep", "chain", "laughs", "keys", "itself", "number"],
)
def test_what_would_never_end_is_refused_in_one_line(text: str, expected: str) -> None:
    with pytest.raises(UserError, match=f"^{expected}$"):
        read(text)


def test_a_text_that_is_too_long_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("#" * LONGEST)
    assert len(read_text(file)) == LONGEST
    file.write_text("#" * (LONGEST + 1))
    with pytest.raises(UserError, match=r"a\.yaml: has more than 1,048,576 characters$"):
        read_text(file)
    with pytest.raises(UserError, match="^/dev/zero: a pipe, device or socket"):
        read_text("/dev/zero")


def test_json_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(UserError, match="^a.json: nested too deeply$"):
        Architecture.from_json("[" * 100_000, "a.json")


MERGED = """\
base: &base {width: 16, depth: 1}
deep: &deep {depth: 2, heads: 4}
one: {<<: *base, depth: 3}
two:
  <<: [*base, *deep]
  ratio: 2
"""


def test_merge_keys_stand_for_the_entries_of_other_mappings() -> None:
    top = compose(MERGED, "run.yaml", needs="something")
    assert top.plain() == {
        "base": {"width": 16, "depth": 1},
        "deep": {"depth": 2, "heads": 4},
        "one": {"width": 16, "depth": 3},
        "two": {"width": 16, "depth": 1, "heads": 4, "ratio": 2},
    }
    assert top.at("one", "depth").where == "run.yaml:3"
    heads = top.at("two", "heads")
    assert (heads.where, heads.path) == ("run.yaml:2", "two.heads")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a {<<: *a}\n", "run.yaml:1: a: contains itself"),
        ("a: {<<: 3}\n", "run.yaml:1: a: is not a mapping of"),
        ("a: {<<: [{b: 1}, 3]}\n", "run.yaml:1: a: is not a mapping of"),
        ("a: {b: 1, b: 2, <<: {b: 3}}\n", "run.yaml:1: a.b: given twice"),
    ],
)
def test_merge_keys_that_cannot_be(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        compose(text, "run.yaml", needs="something").plain()
