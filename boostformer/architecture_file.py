"""Architecture files: networks as users write them, read with every option spelled out."""

from __future__ import annotations

from pathlib import Path

from boostformer.architecture import NEEDS, Architecture
from boostformer.blocks.registry import complete
from boostformer.files import read_text
from boostformer.yaml_lines import compose

SUFFIXES = (".yaml", ".yml", ".json")


def read_architecture(file: str | Path) -> Architecture:
    """The complete network in a file with one of :data:`SUFFIXES`.

    :class:`boostformer.errors.UserError` says ``file:line: key: what is wrong``; of JSON it knows no lines.
    """
    text, source = read_text(file), str(file)
    if Path(file).suffix == ".json":
        return complete(Architecture.from_json(text, source), source)
    top = compose(text, source, needs=NEEDS)
    return complete(Architecture.from_dict(top.plain(), top), top)
