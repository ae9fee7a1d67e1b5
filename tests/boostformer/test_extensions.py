"""Blocks from outside the package: the how-to's example as a user's file, a module by name, and an entry point."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from boostformer import extensions, fingerprints
from boostformer.architecture import BlockSpec
from boostformer.blocks import registry
from boostformer.errors import UserError
from boostformer.parts import Part
from evaluators.costs.table import CostTable

HOW_TO = Path(__file__).resolve().parents[2] / "docs/howto/extend.md"
CODE = "boostformer/blocks/block.py"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The how-to's block in a file of the user's; what is registered is taken back."""
    found = re.search(r"```python\n(.*?)```", HOW_TO.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    (tmp_path / "depthwise.py").write_text(found[1])
    monkeypatch.setattr(fingerprints, "_OTHERS", [])
    monkeypatch.syspath_prepend(tmp_path)
    fingerprints.code_fingerprint.cache_clear()
    yield tmp_path / "depthwise.py"
    registry._BLOCKS["mixer"].pop("depthwise", None)
    for name in ("depthwise", "boostformer_import_depthwise"):
        sys.modules.pop(name, None)
    fingerprints.code_fingerprint.cache_clear()


def test_the_example_is_a_block_like_any_other(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprints.code_fingerprint(CODE)
    monkeypatch.setenv(extensions.VARIABLE, str(example))
    extensions.load()
    module = registry.construct("mixer", BlockSpec.of("depthwise", kernel=5), 8)
    assert module(torch.zeros(1, 8, 6, 7)).shape == (1, 8, 6, 7)
    part = Part("mixer", BlockSpec.of("depthwise", kernel=5), (8,), ((8, 6, 7),))
    cost = CostTable(deployed=False).part(part)
    assert (cost.params, cost.macs) == (8 * 25 + 8, 8 * 25 * 6 * 7)
    # What was counted for one state of the file is not taken for another.
    after = fingerprints.code_fingerprint(CODE)
    example.write_text(example.read_text() + "\n")
    fingerprints.code_fingerprint.cache_clear()
    assert len({before, after, fingerprints.code_fingerprint(CODE)}) == 3


def test_a_module_is_found_by_its_name(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(extensions.VARIABLE, "depthwise")
    extensions.load()
    assert registry.get("mixer", "depthwise").source.startswith("RepViT")


def test_an_installed_package_names_its_module(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = example.parent / "mine-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[boostformer.extension]\nmine = depthwise\n")
    monkeypatch.delenv(extensions.VARIABLE, raising=False)
    extensions.load()
    assert "depthwise" in registry.names("mixer")


@pytest.mark.parametrize(
    ("code", "why"), [("def", "SyntaxError"), ("import no_such_thing", "no_such_thing"), (None, "No such file")]
)
def test_what_cannot_be_imported_is_one_line(
    code: str | None, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if code is not None:
        (tmp_path / "mine.py").write_text(code)
    monkeypatch.setenv(extensions.VARIABLE, os.pathsep.join([str(tmp_path / "mine.py")]))
    with pytest.raises(UserError, match=why) as caught:
        extensions.load()
    assert str(caught.value).startswith(f"--import: '{tmp_path}/mine.py' cannot be imported")
    sys.modules.pop("boostformer_import_mine", None)
