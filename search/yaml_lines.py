"""YAML into plain values, with the line of every key kept for error messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from boostformer.errors import UserError, nearest

Keys = tuple[str | int, ...]


class YamlFile:
    """A YAML mapping as ``values``; :meth:`error` words what is wrong with one of its keys.

    Raises :class:`UserError` for a file that cannot be read, is not YAML, is no mapping, or gives a key twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[Keys, int] = {}
        try:
            node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except FileNotFoundError:
            raise UserError(f"{path}: no such file") from None
        except UnicodeDecodeError:
            raise UserError(f"{path}: not UTF-8 text") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        except yaml.MarkedYAMLError as error:
            line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
            raise UserError(f"{path}{line}: not YAML: {error.problem or error.context}") from None
        except yaml.YAMLError as error:
            raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
        if not isinstance(node, yaml.MappingNode):
            raise UserError(f"{path}: not a mapping of keys to values")
        self._note(node, ())
        try:
            self.values: dict[str, Any] = yaml.constructor.SafeConstructor().construct_document(node)
        except yaml.MarkedYAMLError as error:
            line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
            raise UserError(f"{path}{line}: not YAML: {error.problem}") from None
        except ValueError as error:  # a date that does not exist
            raise UserError(f"{path}: not YAML: {error}") from None

    def _note(self, node: yaml.Node, keys: Keys) -> None:
        """Remembers the lines below ``node``."""
        if isinstance(node, yaml.SequenceNode):
            for i, item in enumerate(node.value):
                self._lines[*keys, i] = item.start_mark.line + 1
                self._note(item, (*keys, i))
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.tag != "tag:yaml.org,2002:str":
                    line = key.start_mark.line + 1
                    raise UserError(f"{self.path}:{line}: {key.value!r} is not a word, and only words can be keys")
                below = (*keys, key.value)
                if below in self._lines:
                    raise self.error(below, f"given twice, again on line {key.start_mark.line + 1}")
                self._lines[below] = key.start_mark.line + 1
                self._note(value, below)

    def place(self, keys: Keys, *, path: bool = True) -> str:
        """``file:line: a.b`` of a key, or of the nearest above it that the file holds; or ``file:line`` alone."""
        known = keys
        while known and known not in self._lines:
            known = known[:-1]
        line = f":{self._lines[known]}" if known else ""
        return f"{self.path}{line}" + (f": {'.'.join(map(str, keys))}" if keys and path else "")

    def error(self, keys: Keys, message: str) -> UserError:
        return UserError(f"{self.place(keys)}: {message}")

    def invalid(self, error: ValidationError, model: type[BaseModel], above: Keys = ()) -> UserError:
        """The first thing that pydantic found wrong with the part of the file at ``above``."""
        first = error.errors()[0]
        keys = (*above, *first["loc"])
        if first["type"] == "extra_forbidden":
            return self.error(keys, f"unknown key; {nearest(keys[-1], _fields(model, first['loc'][:-1]))}")
        if first["type"] == "missing":
            return self.error(keys, "missing")
        while len(keys) > 1 and keys not in self._lines:  # pydantic's own names for what it tried
            keys = keys[:-1]
        message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if first["type"] == "value_error":
            return self.error(keys, message)
        return self.error(keys, f"{first['input']!r} {message}")


def _fields(model: type[BaseModel], loc: Keys) -> list[str]:
    """The keys that are allowed at this place of a model."""
    for name in loc:
        inner = model.model_fields[str(name)].annotation
        assert isinstance(inner, type) and issubclass(inner, BaseModel)
        model = inner
    return list(model.model_fields)
