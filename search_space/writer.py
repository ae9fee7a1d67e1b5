"""Writer of search spaces as YAML files that people read and change."""

from __future__ import annotations

import math
from typing import Any

import yaml

from search_space.space import SearchSpace


def space_to_yaml(space: SearchSpace, remarks: tuple[str, ...] = ()) -> str:
    """Write a space as the text of a space file, one line for each field and block, with ``remarks`` above it."""
    lines = [f"# {remark}" for remark in remarks]
    for key, value in space.to_dict().items():
        if key == "stages":
            lines.append("stages:")
            for stage in value:
                block = [line for field, domain in stage.items() for line in _entry(field, domain)]
                lines += [f"  - {block[0]}", *(f"    {line}" for line in block[1:])]
        elif key == "decoder":
            lines += ["decoder:", *(f"  {line}" for field, domain in value.items() for line in _entry(field, domain))]
        else:
            lines += _entry(key, value)
    return "\n".join(lines) + "\n"


def _entry(key: str, value: Any) -> list[str]:
    """Write one key: several blocks below one another, all else on one line."""
    if isinstance(value, dict) and len(value) > 1:
        return [f"{key}:", *(f"  {name}: {flow(_plain(options))}" for name, options in value.items())]
    return [f"{key}: {flow(_plain(value))}"]


def flow(value: Any) -> str:
    """Write a value of plain YAML on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=math.inf, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _plain(value: Any) -> Any:
    """Take the lists from around single values."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value[0] if isinstance(value, list) and len(value) == 1 else value
