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
from boostformer.blocks.block import Block, Options, Size
from boostformer.blocks.registry import OneOf
from boostformer.errors import UserError
from boostformer.yaml_lines import lineless


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = {kind: dict(blocks) for kind, blocks in registry._BLOCKS.items()}
    yield
    for kind, blocks in before.items():
        registry._BLOCKS[kind].clear()
        registry._BLOCKS[kind].update(blocks)


def test_a_declared_block_is_found_with_its_options() -> None:
    @registry.register("mixer", "shift", source="a test")
    class Shift(Block):
        """Shifts."""

        def __init__(self, width: int, *, by: Annotated[int, OneOf(1, 2)] = 2) -> None:
            super().__init__()

    found = registry.get("mixer", "shift")
    assert (found.cls, found.doc, found.source) == (Shift, "Shifts.", "a test")
    assert found.options["by"].default == 2
    assert found.options["by"].allowed == (1, 2)
    assert found in registry.declarations()


def test_a_block_may_say_where_it_cannot_stand_and_where_it_should_not_be_tried() -> None:
    @registry.register("mixer", "picky", source="a test")
    class Picky(Block):
        """Wants wide maps."""

        def __init__(self, width: int, *, by: Annotated[int, OneOf(1, 2)] = 2) -> None:
            super().__init__()

        @staticmethod
        def refusal(width: int, size: Size, options: Options) -> str | None:
            return f"{width} by {options['by']} at {size}" if size[0] < options["by"] * width else None

        @staticmethod
        def out_of_reach(stage: int, size: Size, options: Options) -> str | None:
            return f"stage {stage} by {options['by']} at {size}" if stage == 0 else None

    found = registry.get("mixer", "picky")
    assert found.refusal(4, (8, 1), {"by": 2}) is None
    assert found.refusal(5, (8, 1), {"by": 2}) == "5 by 2 at (8, 1)"
    assert found.out_of_reach(0, (8, 1), {"by": 1}) == "stage 0 by 1 at (8, 1)"
    assert found.out_of_reach(1, (8, 1), {"by": 1}) is None
    with pytest.raises(UserError, match=r"^x: top level: 5 by 2 at \(8, 1\)$"):
        registry.complete_spec("mixer", BlockSpec("picky"), 5, (8, 1), lineless("x"))
    pooling = registry.get("mixer", "pooling")
    assert pooling.refusal(5, (1, 1), {"kernel": 3}) is None and pooling.out_of_reach(0, (999, 999), {}) is None


def test_every_kind_is_listed_the_stem_first() -> None:
    kinds = [declaration.kind for declaration in registry.declarations()]
    assert list(dict.fromkeys(kinds)) == ["stem", "embed", "mixer", "ffn", "norm", "fusion"]
    assert registry.names("stem") == ["none", "resizer"]


def test_the_stem_and_the_size_behind_it_are_checked_too() -> None:
    arch = presets.load("segformer_b0", size=(64, 64))
    assert registry.complete(replace(arch, stem=BlockSpec("resizer"))).stem == BlockSpec.of(
        "resizer", blocks=1, shrink=2
    )
    with pytest.raises(UserError, match=r"^net: stem\.block: unknown stem 'resize'; did you mean 'resizer'\?"):
        registry.complete(replace(arch, stem=BlockSpec("resize")), "net")
    # The first stage reduces eight times: a quarter of half of 32x32 leaves it 4x4.
    small = replace(arch, size=(32, 32), stem=BlockSpec("resizer"))
    with pytest.raises(UserError, match=r"^net: stages\.0\.mixer: reduction 8 is larger than the map of 4x4"):
        registry.complete(small, "net")


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="mixer 'pooling' is registered twice"):
        registry.register("mixer", "pooling", source="")(nn.Identity)


def test_malformed_declarations_fail_at_definition() -> None:
    class Undocumented(Block):
        def __init__(self, width: int) -> None:
            super().__init__()

    Undocumented.__doc__ = None

    class WrongShape(Block):
        """Takes what no mixer takes."""

        def __init__(self, height: int) -> None:
            super().__init__()

    class Loose(Block):
        """An option without allowed values."""

        def __init__(self, width: int, *, heads: int = 1) -> None:
            super().__init__()

    class BadDefault(Block):
        """A default that is not allowed."""

        def __init__(self, width: int, *, heads: Annotated[int, OneOf(1, 2)] = 3) -> None:
            super().__init__()

    class Bare(nn.Module):
        """A module without the hooks of a block."""

        def __init__(self, width: int) -> None:
            super().__init__()

    for cls, message in [
        (Bare, "must derive from boostformer.blocks.block.Block"),
        (Undocumented, "docstring"),
        (WrongShape, "must take"),
        (Loose, "needs Annotated"),
        (BadDefault, "needs a default among"),
    ]:
        with pytest.raises(ValueError, match=message):
            registry.register("mixer", "new", source="")(cls)


def test_options_left_out_take_their_defaults() -> None:
    found = registry.complete_spec("mixer", BlockSpec.of("pooled_attention"), 64, (8, 8), lineless("x"))
    assert found == BlockSpec.of("pooled_attention", heads=1, pool=7, project=False)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (BlockSpec.of("poling"), "x: block: unknown mixer 'poling'; did you mean 'pooling'?"),
        (BlockSpec.of("mhsa", head=2), "x: head: 'mhsa' has no such option; did you mean 'heads'?"),
        (BlockSpec.of("mhsa", heads=7), "x: heads: 7 is not allowed for 'mhsa', allowed: 1, 2, 3"),
        (BlockSpec.of("mhsa", heads=True), "x: heads: True is not allowed"),
        (BlockSpec.of("mhsa", heads=5), "x: top level: heads 5 does not divide width 64"),
    ],
)
def test_what_is_not_allowed_is_named(spec: BlockSpec, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        registry.complete_spec("mixer", spec, 64, (8, 8), lineless("x"))
    assert str(caught.value).startswith(expected)


def test_an_odd_mix_cfn_is_refused() -> None:
    with pytest.raises(UserError, match="ratio 1 times width 7 is odd"):
        registry.complete_spec("ffn", BlockSpec.of("mix_cfn", ratio=1), 7, (8, 8), lineless("x"))


def test_equal_networks_share_an_id_however_they_are_written() -> None:
    full = presets.load("segformer_b0")
    stage = full.stages[0]
    assert stage.ffn.get("ratio") == 4
    terse = replace(full, stages=(replace(stage, ffn=BlockSpec.of("mix_ffn")), *full.stages[1:]))
    assert terse.id != full.id
    assert registry.complete(terse).id == full.id
