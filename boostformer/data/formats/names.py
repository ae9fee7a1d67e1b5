"""Files that name a data set's classes: ``classes.txt``, ``objectInfo150.txt``, ``id2label.json``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from boostformer.errors import UserError
from boostformer.files import check_regular
from boostformer.names import class_names


def read_class_names(root: Path, remarks: list[str]) -> tuple[list[str] | None, Path]:
    """Read the first file of names there is, and tell which it is; without one, there are none of ``root``."""
    readers: dict[str, Callable[[Path, list[str]], list[str]]] = {
        "classes.txt": _names_by_line,
        "objectInfo150.txt": _names_by_table,
        "id2label.json": _names_by_id,
    }
    for filename, reader in readers.items():
        if (root / filename).is_file():
            return class_names(reader(root / filename, remarks), root / filename), root / filename
    return None, root


def text_of(path: Path) -> str:
    """Read a text file of a data set; UserError when it cannot be read."""
    try:
        check_regular(path)
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no text in UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def json_of(path: Path) -> Any:
    """Read a JSON file of a data set; UserError when it cannot be read or is malformed."""
    try:
        return json.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no JSON ({error})") from None


def _names_by_line(path: Path, remarks: list[str]) -> list[str]:
    names = []
    lines = text_of(path).rstrip().splitlines()
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line.startswith(("#", "//")):
            raise UserError(f"{path}:{number}: '{line}' looks like a comment, but each line names a class; take it out")
        if line:
            names.append(line)
        else:
            remarks.append(f"{path}:{number}: the blank line is skipped; it is no class")
    return names


def _names_by_table(path: Path, _remarks: list[str]) -> list[str]:
    """Read ``Idx  Ratio  Train  Val  Stuff  Name``, tab-separated, numbered from 1; of synonyms the first."""
    rows = [line.split("\t") for line in text_of(path).splitlines()[1:] if line.strip()]
    if [row[0].strip() for row in rows] != [str(number) for number in range(1, len(rows) + 1)]:
        raise UserError(f"{path}: the first column must number the classes 1, 2, 3, …, separated by tabs")
    return [row[-1].split(",")[0].strip() for row in rows]


def _names_by_id(path: Path, _remarks: list[str]) -> list[str]:
    """Read ``{"0": "wall", …}``: ids after the shift, so "0" is the class that masks write as 1."""
    try:
        table = {int(key): str(value) for key, value in json_of(path).items()}
    except (ValueError, AttributeError) as error:
        raise UserError(f'{path}: must be a JSON object such as {{"0": "wall", …}} ({error})') from error
    if sorted(table) != list(range(len(table))):
        raise UserError(f"{path}: ids must be 0…{len(table) - 1} without gaps, but got {sorted(table)}")
    return [table[number] for number in range(len(table))]
