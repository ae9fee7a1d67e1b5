"""The registry: one decorated class declares a block, its kind, its knobs and its source.

A block's knobs are the keyword-only, annotated parameters of its ``__init__``; the positional
ones are the shape it is built for:

=======  =================================  ============================================
kind     positional parameters              forward
=======  =================================  ============================================
embed    in_width, width, stride            (B, in_width, H, W) -> (B, width, H/s, W/s)
mixer    width                              (B, C, H, W) -> (B, C, H, W)
ffn      width                              (B, C, H, W) -> (B, C, H, W)
norm     width                              (B, C, H, W) -> (B, C, H, W)
fusion   width, maps                        list of (B, C, Hi, Wi), finest first -> (B, C, H0, W0)
=======  =================================  ============================================

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
from boostformer.errors import UserError, nearest

KINDS = {
    "embed": ("in_width", "width", "stride"),
    "mixer": ("width",),
    "ffn": ("width",),
    "norm": ("width",),
    "fusion": ("width", "maps"),
}


@dataclass(frozen=True)
class OneOf:
    """The values a knob may take: ``kernel: Annotated[int, OneOf(3, 5, 7)] = 3``."""

    values: tuple[Scalar, ...]

    def __init__(self, *values: Scalar) -> None:
        object.__setattr__(self, "values", values)


@dataclass(frozen=True)
class Knob:
    """One declared choice of a block."""

    name: str
    default: Scalar
    allowed: tuple[Scalar, ...]

    def accepts(self, value: object) -> bool:
        return any(type(value) is type(item) and value == item for item in self.allowed)


@dataclass(frozen=True)
class Declaration:
    """A registered block."""

    kind: str
    name: str
    cls: type[nn.Module]
    knobs: dict[str, Knob]
    source: str

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.cls).splitlines()[0]  # type: ignore[union-attr]

    def refusal(self, width: int, options: dict[str, Scalar]) -> str | None:
        """Why this width and these options do not go together, or None when they do."""
        rule = getattr(self.cls, "refusal", None)
        return rule(width, **options) if rule else None


_BLOCKS: dict[str, dict[str, Declaration]] = {kind: {} for kind in KINDS}
Module = TypeVar("Module", bound=type[nn.Module])


def register(kind: str, name: str, source: str) -> Callable[[Module], Module]:
    """Declare the decorated ``nn.Module`` as a block; malformed ones fail here, at definition."""

    def declare(cls: Module) -> Module:
        if name in _BLOCKS[kind]:
            raise ValueError(f"{kind} '{name}' is registered twice")
        if not cls.__doc__:
            raise ValueError(f"{kind} '{name}' needs a docstring: its first line is what the listing shows")
        _BLOCKS[kind][name] = Declaration(kind, name, cls, _knobs(kind, name, cls), source)
        return cls

    return declare


def _knobs(kind: str, name: str, cls: type[nn.Module]) -> dict[str, Knob]:
    signature = inspect.signature(cls.__init__)
    hints = get_type_hints(cls.__init__, include_extras=True)
    shape = [p.name for p in list(signature.parameters.values())[1:] if p.kind is not p.KEYWORD_ONLY]
    if tuple(shape) != KINDS[kind]:
        raise ValueError(f"{kind} '{name}' takes {shape}, must take {list(KINDS[kind])} and keyword-only knobs")
    knobs = {}
    for parameter in signature.parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        hint = hints.get(parameter.name)
        marks = [m for m in get_args(hint) if isinstance(m, OneOf)] if get_origin(hint) is Annotated else []
        if len(marks) != 1:
            raise ValueError(f"{kind} '{name}': knob '{parameter.name}' needs Annotated[type, OneOf(...)]")
        knob = Knob(parameter.name, parameter.default, marks[0].values)
        if not knob.accepts(parameter.default):
            raise ValueError(f"{kind} '{name}': knob '{knob.name}' needs a default among {knob.allowed}")
        knobs[knob.name] = knob
    return knobs


def names(kind: str) -> list[str]:
    return sorted(_BLOCKS[kind])


def declarations() -> list[Declaration]:
    """Every registered block, by kind and name."""
    return [_BLOCKS[kind][name] for kind in KINDS for name in names(kind)]


def get(kind: str, name: str, where: str = "") -> Declaration:
    """The declaration; an unknown name raises :class:`UserError` with the nearest known one."""
    if name not in _BLOCKS[kind]:
        raise UserError(f"{where}{': ' if where else ''}unknown {kind} '{name}'; {nearest(name, names(kind))}")
    return _BLOCKS[kind][name]


def complete_spec(kind: str, spec: BlockSpec, width: int, where: str) -> BlockSpec:
    """``spec`` with every knob spelled out; :class:`UserError` for what is not allowed."""
    declaration = get(kind, spec.name, where)
    options = {knob.name: knob.default for knob in declaration.knobs.values()}
    for name, value in spec.options:
        if name not in declaration.knobs:
            raise UserError(f"{where}: '{spec.name}' has no option '{name}'; {nearest(name, declaration.knobs)}")
        if not declaration.knobs[name].accepts(value):
            allowed = ", ".join(map(str, declaration.knobs[name].allowed))
            raise UserError(f"{where}: {name} {value!r} is not allowed for '{spec.name}', allowed: {allowed}")
        options[name] = value
    if reason := declaration.refusal(width, options):
        raise UserError(f"{where}: {reason}")
    return BlockSpec.of(spec.name, **options)


def complete(arch: Architecture, source: str = "architecture") -> Architecture:
    """``arch`` with every option of every block spelled out, so that equal networks share one id."""
    stages = []
    for i, stage in enumerate(arch.stages):
        specs = {
            kind: complete_spec(kind, getattr(stage, kind), stage.width, f"{source}: stages[{i}].{kind}")
            for kind in ("embed", "mixer", "ffn")
        }
        stages.append(replace(stage, **specs))  # type: ignore[arg-type]
    where = f"{source}: decoder.fusion"
    fusion = complete_spec("fusion", arch.decoder.fusion, arch.decoder.width, where)
    return replace(arch, stages=tuple(stages), decoder=replace(arch.decoder, fusion=fusion))


def construct(kind: str, spec: BlockSpec, *shape: Any) -> nn.Module:
    """The block's module for the positional ``shape`` of its kind."""
    return get(kind, spec.name).cls(*shape, **dict(spec.options))
