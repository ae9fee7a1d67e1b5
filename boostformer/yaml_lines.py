"""YAML whose every key knows its line, so that mistakes are reported with ``file:line: key``.

The text is composed into nodes, which know their lines, rather than loaded into plain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.representer import SafeRepresenter

from boostformer.errors import UserError

Keys = tuple[str | int, ...]
MAX_DEPTH, MAX_NODES = 50, 100_000
"""Nesting, and keys and values, of a text where every alias is replaced by what it stands for."""
MAX_BITS = 1024
"""Digits of a whole number: longer ones Python may refuse to write into a message."""
_STRING, _NULL = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"
_INTEGER, _MERGE = "tag:yaml.org,2002:int", "tag:yaml.org,2002:merge"
_MAPPING, _SEQUENCE = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"


def compose(text: str, source: str, *, needs: str) -> Place:
    """The top of a YAML text; :class:`UserError` when it is not YAML, or empty, which ``needs`` something.

    So it is when the text is nested more than :data:`MAX_DEPTH` deep, or has more than :data:`MAX_NODES` nodes.
    """
    try:
        node = _Loader(text).get_single_node()
        if node is not None:
            _measure(node, {})
    except _TooLarge as error:
        raise UserError(f"{source}:{error.line}: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{source}{line}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{source}: not YAML: {' '.join(str(error).split())}") from None
    if node is None:
        raise UserError(f"{source}: empty, {needs}")
    return Place(source, (), node, node.start_mark)


class _TooLarge(Exception):
    """Says of what there is too much."""

    def __init__(self, what: str, mark: yaml.Mark) -> None:
        super().__init__(what)
        self.line = mark.line + 1


_TOO_DEEP = f"is nested more than {MAX_DEPTH} deep"


class _Loader(yaml.SafeLoader):
    """Composes no nodes that lie too deep: each level costs the interpreter some of its stack."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self._depth >= MAX_DEPTH:
            raise _TooLarge(_TOO_DEEP, self.peek_event().start_mark)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _measure(node: yaml.Node, known: dict[yaml.Node, tuple[int, int]]) -> tuple[int, int]:
    """Count the nodes and levels of a node whose aliases are replaced; each node is visited once.

    An alias stands for an earlier node, which is ``known``, so that this goes as deep as the text itself. A node in
    itself counts as nothing: it is refused where it is read.
    """
    if node in known:
        return known[node]
    known[node] = 0, 0
    count, depth = 1, 0
    pairs = isinstance(node, yaml.MappingNode)
    for below in () if isinstance(node, yaml.ScalarNode) else node.value:
        for inner in below if pairs else (below,):
            more, deep = _measure(inner, known)
            count, depth = count + more, max(depth, deep)
        if count > MAX_NODES:
            raise _TooLarge(f"comes to more than {MAX_NODES:,} keys and values, its aliases replaced", node.start_mark)
    if depth >= MAX_DEPTH:
        raise _TooLarge(_TOO_DEEP, node.start_mark)
    known[node] = count, depth + 1
    return known[node]


def represent(data: object, source: str) -> Place:
    """The top of the same form from plain values, with errors that know no lines."""
    try:
        return Place(source, (), SafeRepresenter(sort_keys=False).represent_data(data))
    except yaml.YAMLError:
        raise UserError(f"{source}: holds values that YAML cannot express") from None


def lineless(source: str) -> Place:
    """The top of what has no lines, to word errors about its keys."""
    return Place(source, (), yaml.MappingNode(_MAPPING, []))


@dataclass(frozen=True)
class Place:
    """A node of the file with the keys that lead to it, and the mark of its key (or of itself, in a list).

    What is asked of it that it is not raises :class:`UserError`.
    """

    source: str
    keys: Keys
    node: yaml.Node
    mark: yaml.Mark | None = field(default=None, repr=False)

    @property
    def where(self) -> str:
        """``file:line``."""
        return self.source + (f":{self.mark.line + 1}" if self.mark else "")

    @property
    def path(self) -> str:
        """``stages.0.width``."""
        return ".".join(map(str, self.keys))

    def error(self, message: str) -> UserError:
        return UserError(f"{self.where}: {self.path or 'top level'}: {message}")

    def items(self, what: str) -> list[Place]:
        """The items of a list."""
        if not isinstance(self.node, yaml.SequenceNode) or self.node.tag != _SEQUENCE:
            raise self.error(f"is not a list of {what}")
        return [Place(self.source, (*self.keys, i), node, node.start_mark) for i, node in enumerate(self.node.value)]

    def entries(self, what: str, *, numbers: bool = False) -> dict[str, Place]:
        """The entries of a mapping, each key a word and there once; nothing after a key counts as none.

        With ``numbers`` a key may be a whole number, too; it comes as its text. The entries of the mappings that ``<<``
        names count where there are no others of their keys, with the line where they stand.
        """
        return self._entries(what, numbers, ())

    def _entries(self, what: str, numbers: bool, above: tuple[yaml.Node, ...]) -> dict[str, Place]:
        if any(self.node is node for node in above):
            raise self.error("contains itself")
        if self.node.tag == _NULL:
            return {}
        if not isinstance(self.node, yaml.MappingNode) or self.node.tag != _MAPPING:
            raise self.error(f"is not a mapping of {what}")
        result: dict[str, Place] = {}
        merged: dict[str, Place] = {}
        for key_node, node in self.node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            place = Place(self.source, (*self.keys, key), node, key_node.start_mark)
            if key_node.tag == _MERGE:
                for other in place.items("mappings") if isinstance(node, yaml.SequenceNode) else [place]:
                    more = replace(other, keys=self.keys)._entries(what, numbers, (*above, self.node))
                    merged = more | merged  # of several the first counts
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise place.error("a key must be a word")
            if key_node.tag != _STRING and not (numbers and key_node.tag == _INTEGER):
                raise place.error(f"{key!r} is not a word, and only words can be keys")
            if key in result:
                first = result[key].mark
                raise place.error("given twice" + (f", first on line {first.line + 1}" if first else ""))
            result[key] = place
        return merged | result

    def scalar(self) -> Any:
        """A single value."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.error("is not a single value")
        try:
            value = SafeConstructor().construct_object(self.node, deep=True)
        except (yaml.YAMLError, ValueError, OverflowError, LookupError, AttributeError):
            # The last two for `!!bool x` and the like.
            text = self.node.value
            raise self.error(f"'{text if len(text) < 80 else text[:80] + '…'}' cannot be read as a value") from None
        if isinstance(value, str) and "\0" in value:
            raise self.error("holds the character NUL, which no name or path may have")
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise self.error(f"a number of {value.bit_length():,} bits, at most {MAX_BITS} allowed")
        return value

    def plain(self, numbers: Keys | None = None, _above: tuple[yaml.Node, ...] = ()) -> Any:
        """All that is here as plain values; below the keys ``numbers``, keys may be whole numbers."""
        if any(self.node is node for node in _above):
            raise self.error("contains itself")
        if isinstance(self.node, yaml.ScalarNode):
            return self.scalar()
        above = (*_above, self.node)
        if isinstance(self.node, yaml.SequenceNode):
            return [place.plain(numbers, above) for place in self.items("values")]
        entries = self.entries("keys to values", numbers=self.keys == numbers)
        return {key: place.plain(numbers, above) for key, place in entries.items()}

    def nearest(self, keys: Keys) -> Place:
        """The place that ``keys`` lead to from here, or the last one on the way that the file holds."""
        if not keys:
            return self
        below: Mapping[Any, Place] = {}
        if isinstance(self.node, yaml.SequenceNode):
            below = dict(enumerate(self.items("values")))
        elif isinstance(self.node, yaml.MappingNode):
            below = self.entries("keys to values", numbers=True)
        return below[keys[0]].nearest(keys[1:]) if keys[0] in below else self

    def at(self, *keys: str | int) -> Place:
        """The place of ``keys`` below, to word an error about; of one that is missing the line is the nearest's."""
        found = self.nearest(keys)
        return replace(found, keys=(*self.keys, *keys), mark=found.mark if self.keys or found is not self else None)
