"""The registry: one decorated class declares a block, its kind, its options and its source.

A block's options are the keyword-only, annotated parameters of its ``__init__``; the positional
ones are the shape it is built for:

=======  =================================  ============================================
kind     positional parameters              forward
=======  =================================  ============================================
stem     bands                              (B, bands, H, W) -> (B, bands, H', W'), a better image
embed    in_width, width, stride            (B, in_width, H, W) -> (B, width, H/s, W/s)
mixer    width                              (B, C, H, W) -> (B, C, H, W)
ffn      width                              (B, C, H, W) -> (B, C, H, W)
norm     width                              (B, C, H, W) -> (B, C, H, W)
fusion   width, maps                        list of (B, C, Hi, Wi), finest first -> (B, C, H0, W0)
=======  =================================  ============================================

What else a block may say of itself is a method of :class:`boostformer.blocks.block.Block`, from which all derive.
Nothing else has to be edited: the space, the cost table, the listing, the export and the
conformance tests all read this registry. There are no hand-kept cost formulas.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from torch import nn

from boostformer.architecture import Architecture, BlockSpec, Scalar
from boostformer.blocks.block import Block, Options, Size
from boostformer.errors import nearest
from boostformer.yaml_lines import Place, lineless

KINDS: dict[str, tuple[str, ...]] = {
    "stem": ("bands",),
    "embed": ("in_width", "width", "stride"),
    "mixer": ("width",),
    "ffn": ("width",),
    "norm": ("width",),
    "fusion": ("width", "maps"),
}


@dataclass(frozen=True)
class OneOf:
    """The values an option may take: ``kernel: Annotated[int, OneOf(3, 5, 7)] = 3``."""

    values: tuple[Scalar, ...]

    def __init__(self, *values: Scalar) -> None:
        object.__setattr__(self, "values", values)


@dataclass(frozen=True)
class Option:
    """One declared option of a block."""

    name: str
    default: Scalar
    allowed: tuple[Scalar, ...]

    def accepts(self, value: object) -> bool:
        return any(type(value) is type(item) and value == item for item in self.allowed)


@dataclass(frozen=True)
class Declaration:
    """A registered block.

    Attributes:
        kind: one of :data:`KINDS`.
        name: by which architectures ask for it.
        cls: the class.
        options: what may be chosen, by name.
        source: where the block was published.
    """

    kind: str
    name: str
    cls: type[Block]
    options: dict[str, Option]
    source: str

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.cls).splitlines()[0]  # type: ignore[union-attr]

    @property
    def defaults(self) -> dict[str, Scalar]:
        """The default of every option."""
        return {option.name: option.default for option in self.options.values()}

    def refusal(self, width: int, size: Size, options: Options) -> str | None:
        """Ask :meth:`Block.refusal`."""
        return self.cls.refusal(width, size, options)

    def out_of_reach(self, stage: int, size: Size, options: Options) -> str | None:
        """Ask :meth:`Block.out_of_reach`."""
        return self.cls.out_of_reach(stage, size, options)


_BLOCKS: dict[str, dict[str, Declaration]] = {kind: {} for kind in KINDS}
Declared = TypeVar("Declared", bound=type[Block])


def register(kind: str, name: str, source: str) -> Callable[[Declared], Declared]:
    """Declare the decorated :class:`Block`; a malformed one fails here, at definition, with a ValueError."""

    def declare(cls: Declared) -> Declared:
        if name in _BLOCKS[kind]:
            raise ValueError(f"{kind} '{name}' is registered twice")
        if not issubclass(cls, Block):
            raise ValueError(f"{kind} '{name}' must derive from boostformer.blocks.block.Block")
        if not cls.__doc__:
            raise ValueError(f"{kind} '{name}' needs a docstring: its first line is what the listing shows")
        _BLOCKS[kind][name] = Declaration(kind, name, cls, _options(kind, name, cls), source)
        return cls

    return declare


def _options(kind: str, name: str, cls: type[Block]) -> dict[str, Option]:
    signature = inspect.signature(cls.__init__)
    hints = get_type_hints(cls.__init__, include_extras=True)
    shape = [p.name for p in list(signature.parameters.values())[1:] if p.kind is not p.KEYWORD_ONLY]
    if tuple(shape) != KINDS[kind]:
        raise ValueError(f"{kind} '{name}' takes {shape}, must take {list(KINDS[kind])} and keyword-only options")
    options = {}
    for parameter in signature.parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        hint = hints.get(parameter.name)
        marks = [m for m in get_args(hint) if isinstance(m, OneOf)] if get_origin(hint) is Annotated else []
        if len(marks) != 1:
            raise ValueError(f"{kind} '{name}': option '{parameter.name}' needs Annotated[type, OneOf(...)]")
        option = Option(parameter.name, parameter.default, marks[0].values)
        if not option.accepts(parameter.default):
            raise ValueError(f"{kind} '{name}': option '{option.name}' needs a default among {option.allowed}")
        options[option.name] = option
    return options


def names(kind: str) -> list[str]:
    return sorted(_BLOCKS[kind])


def declarations() -> list[Declaration]:
    """Every registered block, by kind and name."""
    return [_BLOCKS[kind][name] for kind in KINDS for name in names(kind)]


def get(kind: str, name: str) -> Declaration:
    """The declaration of a registered block; KeyError for an unknown one."""
    return _BLOCKS[kind][name]


def complete_spec(kind: str, spec: BlockSpec, width: int, size: Size, place: Place) -> BlockSpec:
    """Spell every option of ``spec`` out.

    Args:
        kind: of block.
        spec: the block, with the options that were given.
        width: channels that it is built for.
        size: (H, W) of the map that it works on.
        place: where ``spec`` is written, for errors.

    Raises:
        UserError: the block or an option is unknown, a value is not allowed, or they do not go together.
    """
    if spec.name not in _BLOCKS[kind]:
        raise place.at("block").error(f"unknown {kind} '{spec.name}'; {nearest(spec.name, names(kind))}")
    declaration = get(kind, spec.name)
    options = declaration.defaults
    for name, value in spec.options:
        if name not in declaration.options:
            raise place.at(name).error(f"'{spec.name}' has no such option; {nearest(name, declaration.options)}")
        if not declaration.options[name].accepts(value):
            allowed = ", ".join(map(str, declaration.options[name].allowed))
            raise place.at(name).error(f"{value!r} is not allowed for '{spec.name}', allowed: {allowed}")
        options[name] = value
    if reason := declaration.refusal(width, size, options):
        raise place.error(reason)
    return BlockSpec.of(spec.name, **options)


def complete(arch: Architecture, source: str | Place = "architecture") -> Architecture:
    """Spell every option of every block out, so that equal networks share one id; this also checks that all is legal.

    ``source`` is where ``arch`` was read, for errors: a name, or the top of the file. :class:`UserError` names it and
    the key of what is not allowed.
    """
    top = lineless(source) if isinstance(source, str) else source
    arch = replace(arch, stem=complete_spec("stem", arch.stem, arch.bands, arch.size, top.at("stem")))
    sizes = arch.map_sizes()  # behind the stem, whose options are known by now
    stages = []
    for i, (stage, size) in enumerate(zip(arch.stages, sizes, strict=True)):
        specs = {
            kind: complete_spec(kind, getattr(stage, kind), stage.width, size, top.at("stages", i, kind))
            for kind in ("embed", "mixer", "ffn")
        }
        stages.append(replace(stage, **specs))  # type: ignore[arg-type]
    decoder, place = arch.decoder, top.at("decoder", "fusion")
    fusion = complete_spec("fusion", decoder.fusion, decoder.width, sizes[0], place)
    return replace(arch, stages=tuple(stages), decoder=replace(decoder, fusion=fusion))


def construct(kind: str, spec: BlockSpec, *shape: Any) -> nn.Module:
    """The block's module for the positional ``shape`` of its kind."""
    return get(kind, spec.name).cls(*shape, **dict(spec.options))
