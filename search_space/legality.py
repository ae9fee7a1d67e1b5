"""The combinations that no space may hold, with the reasons of the blocks.

A space is a product of its slots, so every block is asked about every combination that it may meet: each set of
options with each width of its stage and each map size that a stem may leave.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import boostformer.blocks  # noqa: F401  (registers the blocks)
from boostformer.architecture import RGB_BANDS, STRIDES, map_sizes, stem_size
from boostformer.blocks import registry
from search_space.encoding import Block, Domain

STAGE_BLOCKS = ("embed", "mixer", "ffn")
DECODER_BLOCKS = ("fusion",)
BLURRED = "stages.0.embed.pooling"
"""Path of the embed that no space may have without a stem before it."""


def illegal(
    domains: Mapping[str, Domain],
    size: tuple[int, int],
    bands: int = RGB_BANDS,
    within_reach: Collection[str] = (),
) -> Iterator[tuple[str, str]]:
    """Yield ``("stages.0.mixer.mhsa", reason)`` for all that may not be in a space for such inputs.

    Args:
        domains: what may stand in each slot.
        size: (H, W) of the input.
        bands: how many it has.
        within_reach: paths of blocks that no search would try by itself, and this one may.
    """
    sizes = _map_sizes(domains["stem"], size)
    for block in _blocks(domains["stem"]):
        for options in _options(block):
            if reason := registry.get("stem", block.name).refusal(bands, size, options):
                yield f"stem.{block.name}", f"{_given(options)} is not allowed: {reason}"
    for i in range(len(STRIDES)):
        widths = domains[f"stages.{i}.width"]
        for kind in STAGE_BLOCKS:
            for block in _blocks(domains[f"stages.{i}.{kind}"]):
                path = f"stages.{i}.{kind}.{block.name}"
                if reason := _refusal(kind, block, widths, [maps[i] for maps in sizes], i, path in within_reach):
                    yield path, reason
    if BLURRED not in within_reach and (reason := _only_blurred(domains)):
        yield BLURRED, reason
    for block in _blocks(domains["decoder.fusion"]):
        if reason := _refusal("fusion", block, domains["decoder.width"], [maps[0] for maps in sizes]):
            yield f"decoder.fusion.{block.name}", reason


def _refusal(
    kind: str,
    block: Block,
    widths: Domain,
    sizes: list[tuple[int, int]],
    stage: int | None = None,
    within_reach: bool = False,
) -> str | None:
    """Give the reason why a block may not be in a space; None where it may.

    Args:
        kind: of block.
        block: with the values of its options.
        widths: of the map that it works on, in channels.
        sizes: (H, W) that this map may have.
        stage: the stage that it stands in, from 0, if any.
        within_reach: whether what no search would try is allowed.
    """
    declaration = registry.get(kind, block.name)
    for options, size in itertools.product(_options(block), sizes):
        for width in widths:
            if reason := declaration.refusal(width, size, options):  # type: ignore[arg-type]
                return f"width {width} with {_given(options)} is not allowed: {reason}"
        if stage is not None and not within_reach and (reason := declaration.out_of_reach(stage, size, options)):
            return f"{_given(options)} is out of reach in stage {stage + 1}: {reason}"
    return None


def _only_blurred(domains: Mapping[str, Domain]) -> str | None:
    """Refuse a pooling embed where no stem stands before it: it would pass on three blurred channels alone."""
    first = [block.name for block in _blocks(domains["stages.0.embed"])]
    if "pooling" in first and any(block.name == "none" for block in _blocks(domains["stem"])):
        return "as the only stem it sees nothing but blurred RGB: give the space a stem, or another first embed"
    return None


def _map_sizes(stems: Domain, size: tuple[int, int]) -> list[list[tuple[int, int]]]:
    """List the sizes of the four maps behind each stem, equal ones once."""
    found: list[list[tuple[int, int]]] = []
    for block in _blocks(stems):
        for spec in block.specs():
            maps = map_sizes(stem_size(size, spec))
            if maps not in found:
                found.append(maps)
    return found


def _blocks(domain: Domain) -> list[Block]:
    return [block for block in domain if isinstance(block, Block)]


def _options(block: Block) -> list[dict[str, Any]]:
    return [dict(spec.options) for spec in block.specs()]


def _given(options: dict[str, Any]) -> str:
    shown = (f"{name} {str(value).lower() if isinstance(value, bool) else value}" for name, value in options.items())
    return ", ".join(shown) or "no options"
