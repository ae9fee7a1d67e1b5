"""The search space around one network: in each place what the network has, and lighter alternatives.

The network is a point of it, so a search can begin there and walk to lighter ones. What inherits poorly, such as
another norm or activation, is not offered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from boostformer.architecture import Architecture, BlockSpec, Scalar, Stage
from boostformer.blocks import registry
from boostformer.errors import UserError
from search_space.encoding import Block, Domain
from search_space.legality import STAGE_BLOCKS, illegal
from search_space.space import STAGE_FIELDS, SearchSpace

SHARES = (1 / 4, 3 / 8, 1 / 2, 3 / 4)
"""Widths that are offered beside the network's own, as shares of it."""
STEP = 8
"""The widths that are offered are multiples of this, which devices compute best."""
LIGHTER_MIXERS = ("identity", "pooling", "reparam_depthwise", "pooled_attention")
"""Mixers by weight: those before the network's own are offered, and all where it has a heavier one."""
LESS_IS_LIGHTER = ("ratio", "kernel", "blocks", "start", "middle", "scale")
"""Options of which also the smaller values are offered; all others stay as the network has them."""
HEAD_WIDTH = 32
"""Channels of a head, about, in mixers that are offered where the network has no heads."""


def space_around(arch: Architecture) -> SearchSpace:
    """Make the space around a complete network, for its input size and classes.

    It may hold blocks of the network that no search would try otherwise: see :attr:`SearchSpace.within_reach`.
    :class:`UserError` for a network that cannot be built.
    """
    arch = registry.complete(arch)
    domains: dict[str, Domain] = {"stem": (_own_block("stem", arch.stem, [arch.bands], arch.size),)}
    for i, (stage, size) in enumerate(zip(arch.stages, arch.map_sizes(), strict=True)):
        domains |= {f"stages.{i}.{field}": domain for field, domain in _stage(i, stage, size).items()}
    decoder, finest = arch.decoder, arch.map_sizes()[0]
    widths = _widths(decoder.width, [("fusion", decoder.fusion)], finest)
    fusions = [_own_block("fusion", decoder.fusion, widths, finest)]
    if decoder.fusion.name == "concat":
        fusions.append(Block("weighted_sum", (("normalised", (False,)),)))
    domains |= {"decoder.width": tuple(widths), "decoder.fusion": tuple(fusions)}
    unusual = tuple(path for path, _ in illegal(domains, arch.size, arch.bands))
    for path, reason in illegal(domains, arch.size, arch.bands, unusual):
        raise UserError(f"no space around {arch.id}: {path}: {reason}")
    return SearchSpace(arch.size, arch.classes, domains, arch.bands, unusual)


def _stage(i: int, stage: Stage, size: tuple[int, int]) -> dict[str, Domain]:
    widths = _widths(stage.width, [(kind, getattr(stage, kind)) for kind in STAGE_BLOCKS], size)
    found: dict[str, Domain] = {field: (getattr(stage, field),) for field in STAGE_FIELDS}
    found |= {"width": tuple(widths), "depth": tuple(range(1, stage.depth + 1))}
    own = {kind: _own_block(kind, getattr(stage, kind), widths, size) for kind in STAGE_BLOCKS}
    found |= {kind: (block,) for kind, block in own.items()}
    known = LIGHTER_MIXERS.index(stage.mixer.name) if stage.mixer.name in LIGHTER_MIXERS else None
    lighter = [_lighter(name, i, own["mixer"], widths, size) for name in LIGHTER_MIXERS[:known]]
    return found | {"mixer": (*(block for block in lighter if block is not None), own["mixer"])}


def _widths(own: int, blocks: Sequence[tuple[str, BlockSpec]], size: tuple[int, int]) -> list[int]:
    """Give the widths, the smallest first, that go with all ``blocks`` as they are: the own one, and shares of it."""
    legal = [width for width in range(STEP, own, STEP) if all(_fits(*block, [width], size) for block in blocks)]
    return sorted({own, *(min(legal, key=lambda width: abs(width - share * own)) for share in SHARES if legal)})


def _own_block(kind: str, spec: BlockSpec, widths: Sequence[int], size: tuple[int, int]) -> Block:
    """Give a block of the network with its options' own values and the lighter ones that go with all ``widths``."""
    declaration = registry.get(kind, spec.name)
    options = []
    for name, own in spec.options:
        others = _alternatives(name, own, declaration.options[name].allowed)
        fitting = [v for v in others if v == own or _fits(kind, _with(spec, name, v), widths, size)]
        options.append((name, tuple(fitting)))
    return Block(spec.name, tuple(options))


def _alternatives(name: str, own: Any, allowed: Sequence[Any]) -> list[Scalar]:
    """List the values of an option that are offered, the own one among them, in their declared order."""
    if name == "heads":  # so that a network of half the width may have heads as wide as before
        return [value for value in allowed if value in (own, own / 2, own / 4)]
    return [value for value in allowed if value == own or (name in LESS_IS_LIGHTER and value < own)]


def _lighter(name: str, stage: int, own: Block, widths: Sequence[int], size: tuple[int, int]) -> Block | None:
    """Give a mixer that the network has not, where it goes with all ``widths``; None where it does not.

    Its options are the defaults, but for heads, which are as the network's ``own`` mixer has them, and a grid of keys
    no larger than the map.
    """
    declaration = registry.get("mixer", name)
    spec, options = BlockSpec.of(name, **declaration.defaults), declaration.options
    if "pool" in options:
        grids: list[Any] = [grid for grid in options["pool"].allowed if grid <= min(size)]  # type: ignore[operator]
        spec = _with(spec, "pool", min(spec.get("pool"), max(grids, default=options["pool"].allowed[0])))
    heads: list[Any] = []
    if "heads" in options:
        theirs = dict(own.options).get("heads")
        fitting: list[Any] = [
            count
            for count in theirs or options["heads"].allowed
            if _fits("mixer", _with(spec, "heads", count), widths, size)
        ]
        heads = fitting if theirs else sorted(fitting, key=lambda count: abs(widths[-1] - HEAD_WIDTH * count))[:1]
        if not heads:
            return None
        spec = _with(spec, "heads", heads[0])
    if not _fits("mixer", spec, widths, size) or declaration.out_of_reach(stage, size, dict(spec.options)):
        return None
    return Block(name, tuple((key, tuple(heads) if key == "heads" else (value,)) for key, value in spec.options))


def _with(spec: BlockSpec, option: str, value: Scalar) -> BlockSpec:
    return BlockSpec.of(spec.name, **(dict(spec.options) | {option: value}))


def _fits(kind: str, spec: BlockSpec, widths: Iterable[int], size: tuple[int, int]) -> bool:
    """Tell whether a block may be built at all these widths, for a map of ``size``."""
    declaration, options = registry.get(kind, spec.name), dict(spec.options)
    return not any(declaration.refusal(width, size, options) for width in widths)
