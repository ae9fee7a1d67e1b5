"""Markdown of tables, types and docstrings."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

_FIELDS = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):$")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table; bars in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def code(value: object) -> str:
    """Write a value as code."""
    return f"`{value}`"


def plain(text: str) -> str:
    """Turn roles and double backticks of a docstring into Markdown's code."""
    text = re.sub(r":[a-z]+:`~?\.?([^`]+)`", lambda found: f"`{found[1].split('.')[-1]}`", text)
    return text.replace("``", "`").replace("`_", "`")


def described(thing: object) -> str:
    """Turn a docstring into Markdown: its sections of arguments become lists."""
    lines, inside = [], False
    for line in (inspect.getdoc(thing) or "").splitlines():
        if _FIELDS.match(line):
            inside = True
            lines += ["", f"**{line}**", ""]
        elif inside and re.match(r"^    \w", line):
            name, colon, rest = line.strip().partition(": ")
            lines.append(f"- `{name}`: {rest}" if colon else f"- {line.strip()}")
        elif inside and line.strip():
            lines.append("  " + line.strip())
        else:
            inside = inside and not line.strip()
            lines.append(line)
    return plain("\n".join(lines)) + "\n"


def type_name(kind: Any) -> str:
    """Say in words what a type allows."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is Literal:
        return ", ".join(str(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(part) for part in arguments if part is not type(None))
    if origin in (list, tuple):
        inner = list(dict.fromkeys(type_name(part) for part in arguments if part is not Ellipsis))
        return f"list of {' or '.join(inner)}"
    if origin is dict:
        return f"mapping of {type_name(arguments[0])} to {type_name(arguments[1])}"
    names = {bool: "true or false", int: "whole number", float: "number", str: "text", "Path": "path", Any: "anything"}
    return names.get(kind) or names.get(getattr(kind, "__name__", "")) or kind.__name__
