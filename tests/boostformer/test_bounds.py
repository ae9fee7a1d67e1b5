"""Bounds hold before anything is built: of sizes, counts, names and files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from boostformer import presets
from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.files import read_text
from boostformer.names import class_names
from boostformer.sizes import parse_size

Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("classes", lambda arch: arch.update(classes=10**9)),
        ("classes", lambda arch: arch.update(classes=10**5000)),
        ("classes", lambda arch: arch.update(classes=True)),
        ("bands", lambda arch: arch.update(bands=10**9)),
        ("size", lambda arch: arch.update(size=[10**9, 64])),
        ("size", lambda arch: arch.update(size="9" * 5000 + "x64")),
        ("stages.2.depth", lambda arch: arch["stages"][2].update(depth=10**9)),
        ("stages.0.width", lambda arch: arch["stages"][0].update(width=10**9)),
        ("decoder.width", lambda arch: arch["decoder"].update(width=10**9)),
        ("stages", lambda arch: [stage.update(depth=256, width=8192) for stage in arch["stages"]]),
    ],
)
def test_an_architecture_that_no_machine_could_hold_is_refused(where: str, change: Change) -> None:
    arch = presets.load("segformer_b0").to_dict()
    change(arch)
    with pytest.raises(UserError, match=rf"^given: {where}: ") as caught:
        Architecture.from_dict(arch, "given")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("size", ["16385x64", "1" * 5000 + "x64", [64, 10**5000], [True, 64], "64x64x64", None])
def test_a_size_has_bounds(size: object) -> None:
    with pytest.raises(ValueError, match="is not a size") as caught:
        parse_size(size)
    assert len(str(caught.value)) < 250


def test_the_largest_size_is_allowed() -> None:
    assert parse_size("16384x32") == (16384, 32)


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["a" * 10**6], r"a class name of 1,000,000 characters"),
        (["road\x1b]52;c;aGk=\x07"], r"class name 'road\\x1b.* has control characters"),
        (["road\ud800"], r"class name 'road\\ud800' has control characters"),
        ((str(number) for number in range(10**9)), r"names more than 65,535 classes"),
    ],
)
def test_class_names_have_bounds(names: Any, what: str) -> None:
    with pytest.raises(UserError, match=f"^data: {what}") as caught:
        class_names(names, "data")
    assert "\x1b" not in str(caught.value)


def test_what_has_no_end_or_never_answers_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"run\.yaml: a pipe, device or socket"):
        read_text(tmp_path / "run.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(UserError, match=r"pipe\.yaml: a pipe, device or socket"):
        read_text(tmp_path / "pipe.yaml")
