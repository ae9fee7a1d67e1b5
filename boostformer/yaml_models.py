"""Mistakes that pydantic finds in a YAML file, worded as one line with the place in the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from boostformer.errors import UserError, nearest
from boostformer.yaml_lines import Keys, Place

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "path": "a path",
    "list": "a list, such as [a, b]",
    "tuple": "a list, such as [a, b]",
    "dict": "keys with values, such as {a: 1}",
    "model": "keys with values, such as {a: 1}",
}
"""Words for what a value must be, by the beginning of pydantic's name for the error that it is not."""
_TYPE = re.compile(r"(?P<kind>[a-z]+)_(attributes_)?(type|parsing|from_float)")


def invalid(top: Place, error: ValidationError, model: type[BaseModel], above: Keys = ()) -> UserError:
    """The first thing that pydantic found wrong with a part of the file, with its line.

    Args:
        top: the whole file.
        error: what pydantic raised.
        model: the model that it validated.
        above: keys from the top to the part that it validated.
    """
    # A key that is not known before one that is missing: it may be that one, misspelt.
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    keys = (*above, *first["loc"])
    if first["type"] == "extra_forbidden":
        return top.at(*keys).error(f"unknown key; {nearest(keys[-1], _fields(model, first['loc'][:-1]))}")
    if first["type"] == "missing":
        return top.at(*keys).error("missing")
    keys = top.nearest(keys).keys[len(top.keys) :] or keys[:1]  # without pydantic's own names for what it tried
    return top.at(*keys).error(worded(first))


def worded(found: Mapping[str, Any]) -> str:
    """Word one of pydantic's errors: the value, and what is allowed."""
    message = found["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if found["type"] == "value_error":
        return message
    if found["type"] == "literal_error":
        allowed = re.findall(r"'([^']*)'", found["ctx"]["expected"])
        return f"unknown {_shown(found['input'])}; {nearest(found['input'], allowed)}"
    if (kind := _TYPE.fullmatch(found["type"])) and kind["kind"] in _KINDS:
        message = f"must be {_KINDS[kind['kind']]}"
    return f"{_shown(found['input'])} {message}"


def _shown(value: object) -> str:
    """Write a value as a file has it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_shown(inner)}" for key, inner in value.items()) + "}"
    return "nothing" if value is None else repr(value)


def _fields(model: type[BaseModel], loc: Keys) -> list[str]:
    """The keys that are allowed at this place of a model."""
    for name in loc:
        annotation = model.model_fields[str(name)].annotation
        (model,) = [t for t in (annotation, *get_args(annotation)) if isinstance(t, type) and issubclass(t, BaseModel)]
    return [name for name, field in model.model_fields.items() if not field.exclude]  # the others are not read
