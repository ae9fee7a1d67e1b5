"""Reader of search spaces in YAML, which reports every mistake with its file and line.

The blocks are asked about every combination (:mod:`search_space.legality`), so that whatever is drawn later is legal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

import boostformer.blocks  # noqa: F401  (registers the blocks)
from boostformer import files
from boostformer.architecture import ARRANGEMENTS, NORMS, RGB_BANDS, STRIDES, Scalar
from boostformer.blocks import registry
from boostformer.errors import nearest
from boostformer.sizes import count_refusal, parse_size
from boostformer.yaml_lines import Place, compose, represent
from search_space.encoding import Block, Domain
from search_space.legality import DECODER_BLOCKS, STAGE_BLOCKS, illegal
from search_space.space import FORMAT_VERSION, SearchSpace

_SHIPPED = resources.files("search_space") / "spaces"
Refusal = Callable[[Any], str | None]
"""Gives the reason why a value is illegal, or None."""


def shipped_spaces() -> list[str]:
    """List the names of the spaces that come with the package."""
    return sorted(file.name.removesuffix(".yaml") for file in _SHIPPED.iterdir() if file.name.endswith(".yaml"))


def read_space(name_or_path: str | Path) -> SearchSpace:
    """Read a shipped space, by its name, or a space file; :class:`UserError` when it cannot be read."""
    name = str(name_or_path)
    if name in shipped_spaces():
        return space_from_yaml((_SHIPPED / f"{name}.yaml").read_text(encoding="utf-8"), f"spaces/{name}.yaml")
    missing = f"neither a file nor a shipped space; {nearest(name, shipped_spaces())}"
    return space_from_yaml(files.read_text(name, missing=missing), name)


def space_from_yaml(text: str, source: str = "space") -> SearchSpace:
    """Read the text of a space file; :class:`UserError` says ``source:line: key: what is wrong``."""
    return _space(compose(text, source, needs=f"a space must have the keys: {', '.join(_TOP)}"))


def space_at(place: Place) -> SearchSpace:
    """Read a space within another file; :class:`UserError` says ``file:line: key: what is wrong``, by its keys."""
    return _space(replace(place, keys=()))


def space_from_dict(data: object, source: str = "space") -> SearchSpace:
    """Read what :meth:`SearchSpace.to_dict` gives; :class:`UserError` says ``source: key: what is wrong``."""
    return _space(represent(data, source))


def show(value: object) -> str:
    """Write a value as YAML does: true, 4, 'word'."""
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _count(key: str) -> Refusal:
    return partial(count_refusal, key)


def _one_of(allowed: Iterable[Scalar]) -> Refusal:
    allowed = list(allowed)

    def refusal(value: object) -> str | None:
        if any(type(value) is type(item) and value == item for item in allowed):
            return None
        if isinstance(value, str):
            return f"unknown {show(value)}; {nearest(value, map(_plain, allowed))}"
        return f"{show(value)} is not allowed, allowed: {', '.join(map(_plain, allowed))}"

    return refusal


def _plain(value: object) -> str:
    return value if isinstance(value, str) else show(value)


_TOP = ("version", "size", "classes", "stages", "decoder")
_NO_STEM: Domain = (Block("none"),)
_STAGE_SCALARS: dict[str, tuple[Refusal, Scalar | None]] = {
    "width": (_count("width"), None),
    "depth": (_count("depth"), None),
    "norm": (_one_of(NORMS), "layer"),
    "arrangement": (_one_of(ARRANGEMENTS), "pre"),
    "layer_scale": (_one_of((False, True)), False),
    "local_connection": (_one_of((False, True)), False),
}
"""The scalar fields of a stage: what they refuse, and their default, or None where they are required."""
_DECODER_SCALARS: dict[str, tuple[Refusal, Scalar | None]] = {"width": (_count("width"), None)}


def _space(top: Place) -> SearchSpace:
    entries = top.entries(f"the keys {', '.join(_TOP)}")
    if "version" in entries and (found := entries["version"].scalar()) != FORMAT_VERSION:
        raise entries["version"].error(f"version {show(found)} cannot be read, allowed: {FORMAT_VERSION}")
    entries = _keys(top, _TOP, ("bands", "within_reach", "stem"))
    stages = entries["stages"].items(f"{len(STRIDES)} stages")
    if len(stages) != len(STRIDES):
        raise entries["stages"].error(f"{len(stages)} given, exactly {len(STRIDES)} must be listed")
    size = _size(entries["size"])
    classes = _single(entries["classes"], _count("classes"))
    bands = _single(entries["bands"], _count("bands")) if "bands" in entries else RGB_BANDS
    domains: dict[str, Domain] = {"stem": _blocks("stem", entries["stem"]) if "stem" in entries else _NO_STEM}
    for place in stages:
        domains |= _fields(place, _STAGE_SCALARS, STAGE_BLOCKS)
    domains |= _fields(entries["decoder"], _DECODER_SCALARS, DECODER_BLOCKS)
    listed = [
        f"{slot}.{block.name}" for slot, domain in domains.items() for block in domain if isinstance(block, Block)
    ]
    within_reach = _values(entries["within_reach"], _one_of(listed)) if "within_reach" in entries else ()
    for path, reason in illegal(domains, size, bands, within_reach):
        keys = [int(key) if key.isdigit() else key for key in path.split(".")]
        raise top.at(*keys).error(reason)
    return SearchSpace(size, classes, domains, bands, within_reach)


def _keys(place: Place, required: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Place]:
    """Read the entries of a mapping that must have these keys and no others."""
    entries, known = place.entries("keys to values"), [*required, *optional]
    for key, entry in entries.items():
        if key not in known:
            raise entry.error(f"unknown key '{key}'; {nearest(key, known)}")
    for key in required:
        if key not in entries:
            raise place.error(f"key '{key}' is missing, required: {', '.join(required)}")
    return entries


def _values(place: Place, refusal: Refusal) -> tuple[Any, ...]:
    """Read the values of a list, or a scalar that stands for a list of one; none may be refused or given twice."""
    if isinstance(place.node, yaml.MappingNode):
        raise place.error("is not a value or a list of values")
    listed = isinstance(place.node, yaml.SequenceNode)
    # Errors in a list have the list's path, and their own line.
    items = [replace(item, keys=place.keys) for item in place.items("values")] if listed else [place]
    if not items:
        raise place.error("the list is empty, at least one value is needed")
    values: list[Any] = []
    for item in items:
        value = _single(item, refusal)
        if value in values:
            raise item.error(f"{show(value)} is listed twice")
        values.append(value)
    return tuple(values)


def _single(place: Place, refusal: Refusal) -> Any:
    value = place.scalar()
    if reason := refusal(value):
        raise place.error(reason)
    return value


def _size(place: Place) -> tuple[int, int]:
    try:
        return parse_size(place.scalar())
    except ValueError as error:
        raise place.error(str(error)) from None


def _fields(
    place: Place,
    scalars: dict[str, tuple[Refusal, Scalar | None]],
    blocks: tuple[str, ...],
) -> dict[str, Domain]:
    """Read the domains of a stage or of the decoder; each key in ``blocks`` is also the kind of its blocks."""
    optional = [key for key, (_, default) in scalars.items() if default is not None]
    entries = _keys(place, [key for key in [*scalars, *blocks] if key not in optional], optional)
    domains: dict[str, Domain] = {}
    for key, (refusal, default) in scalars.items():
        values = _values(entries[key], refusal) if key in entries else (default,)
        domains[f"{place.path}.{key}"] = values
    for kind in blocks:
        domains[f"{place.path}.{kind}"] = _blocks(kind, entries[kind])
    return domains


def _blocks(kind: str, place: Place) -> tuple[Block, ...]:
    """Read the blocks of a slot, ``{pooling: {kernel: [3, 5]}, ...}``."""
    options = place.entries("block names to their options, such as {pooling: {}}")
    if not options:
        raise place.error(f"no block is given, allowed: {', '.join(registry.names(kind))}")
    return tuple(_block(kind, name, at) for name, at in options.items())


def _block(kind: str, name: str, place: Place) -> Block:
    """Read one block with the values of all its options."""
    if name not in registry.names(kind):
        raise place.error(f"unknown {kind} '{name}'; {nearest(name, registry.names(kind))}")
    declaration = registry.get(kind, name)
    entries = place.entries("option names to their values")
    for key, at in entries.items():
        if key not in declaration.options:
            known = nearest(key, declaration.options) if declaration.options else "it has none"
            raise at.error(f"'{name}' has no option '{key}'; {known}")
    options = {
        key: _values(entries[key], _one_of(option.allowed)) if key in entries else (option.default,)
        for key, option in sorted(declaration.options.items())
    }
    return Block(name, tuple(options.items()))
