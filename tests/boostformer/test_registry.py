"""The registry: declarations are checked when they are made, specs when they are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import pytest
from torch import nn

from boostformer import presets
from boostformer.architecture import BlockSpec
from boostformer.blocks import registry
from boostformer.blocks.registry import OneOf
from boostformer.errors import UserError


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = {kind: dict(blocks) for kind, blocks in registry._BLOCKS.items()}
    yield
    for kind, blocks in before.items():
        registry._BLOCKS[kind].clear()
        registry._BLOCKS[kind].update(blocks)


def test_a_declared_block_is_found_with_its_knobs() -> None:
    @registry.register("mixer", "shift", source="a test")
    class Shift(nn.Module):
        """Shifts."""

        def __init__(self, width: int, *, by: Annotated[int, OneOf(1, 2)] = 2) -> None:
            super().__init__()

    found = registry.get("mixer", "shift")
    assert (found.cls, found.doc, found.source) == (Shift, "Shifts.", "a test")
    assert found.knobs["by"].default == 2
    assert found.knobs["by"].allowed == (1, 2)
    assert found in registry.declarations()


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="mixer 'pooling' is registered twice"):
        registry.register("mixer", "pooling", source="")(nn.Identity)


def test_malformed_declarations_fail_at_definition() -> None:
    class Undocumented(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()

    Undocumented.__doc__ = None

    class WrongShape(nn.Module):
        """Takes what no mixer takes."""

        def __init__(self, height: int) -> None:
            super().__init__()

    class Loose(nn.Module):
        """A knob without allowed values."""

        def __init__(self, width: int, *, heads: int = 1) -> None:
            super().__init__()

    class BadDefault(nn.Module):
        """A default that is not allowed."""

        def __init__(self, width: int, *, heads: Annotated[int, OneOf(1, 2)] = 3) -> None:
            super().__init__()

    for cls, message in [
        (Undocumented, "docstring"),
        (WrongShape, "must take"),
        (Loose, "needs Annotated"),
        (BadDefault, "needs a default among"),
    ]:
        with pytest.raises(ValueError, match=message):
            registry.register("mixer", "new", source="")(cls)


def test_options_left_out_take_their_defaults() -> None:
    assert registry.complete_spec("mixer", BlockSpec.of("pooled_attention"), 64, "x") == BlockSpec.of(
        "pooled_attention", heads=1, pool=7
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (BlockSpec.of("poling"), "x: unknown mixer 'poling'; did you mean 'pooling'?"),
        (BlockSpec.of("mhsa", head=2), "x: 'mhsa' has no option 'head'; did you mean 'heads'?"),
        (BlockSpec.of("mhsa", heads=7), "x: heads 7 is not allowed for 'mhsa', allowed: 1, 2, 3"),
        (BlockSpec.of("mhsa", heads=True), "x: heads True is not allowed"),
        (BlockSpec.of("mhsa", heads=5), "x: heads 5 does not divide width 64"),
    ],
)
def test_what_is_not_allowed_is_named(spec: BlockSpec, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        registry.complete_spec("mixer", spec, 64, "x")
    assert str(caught.value).startswith(expected)


def test_an_odd_mix_cfn_is_refused() -> None:
    with pytest.raises(UserError, match="ratio 1 times width 7 is odd"):
        registry.complete_spec("ffn", BlockSpec.of("mix_cfn", ratio=1), 7, "x")


def test_equal_networks_share_an_id_however_they_are_written() -> None:
    full = presets.load("segformer_b0")
    stage = full.stages[0]
    assert stage.ffn.get("ratio") == 4
    terse = replace(full, stages=(replace(stage, ffn=BlockSpec.of("mix_ffn")), *full.stages[1:]))
    assert terse.id != full.id
    assert registry.complete(terse).id == full.id
