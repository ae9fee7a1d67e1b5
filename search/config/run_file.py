"""Reader of run files: every mistake is one line with the file, the line and the key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from boostformer.files import expanded, is_file, is_folder, located, read_text
from boostformer.yaml_lines import Place, compose
from boostformer.yaml_models import invalid
from search.config.named import named_from
from search.config.sections import RunConfig

MASK_VALUES = ("data", "classes")
"""The one mapping of a run file whose keys may be whole numbers."""


@dataclass(frozen=True)
class RunFile:
    """A run file that was read: its configuration with absolute paths, and the document for wording later errors."""

    config: RunConfig
    top: Place


def read_run_file(path: Path) -> RunFile:
    """Read the run file at ``path``; :class:`UserError` says ``file:line: key: what is wrong, what is allowed``."""
    top = compose(read_text(path), str(path), needs="a run file must have the key: space")
    values = {key: place.plain(MASK_VALUES) for key, place in top.entries("keys to values").items()}
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        raise invalid(top, error, RunConfig) from None
    folder = path.absolute().parent
    changes: dict[str, object] = {}
    if config.data.root is not None:
        changes["data"] = config.data.at(located(config.data.root, folder))
    if isinstance(config.space, str) and is_file(folder / config.space):
        changes["space"] = str(folder / config.space)
    parents: dict[str, object] = {"first": tuple(named_from(text, folder) for text in config.search.first)}
    start = config.search.start
    if start is not None and is_folder(folder / expanded(start)):  # else perhaps a repository of the hub
        parents["start"] = str((folder / expanded(start)).resolve())
    changes["search"] = config.search.model_copy(update=parents)
    if "seed" not in (values.get("proxy") or {}):  # the search's, unless the training has one of its own
        changes["proxy"] = config.proxy.model_copy(update={"seed": config.search.seed})
    return RunFile(config.model_copy(update=changes), top)
