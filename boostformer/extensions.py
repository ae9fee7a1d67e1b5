"""Blocks that lie outside this package: in modules of the user's, and in installed packages."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from boostformer.errors import UserError
from boostformer.fingerprints import also

VARIABLE = "BOOSTFORMER_IMPORT"
"""Environment variable with the user's modules, ``os.pathsep`` between them; processes that are started inherit it."""
GROUP = "boostformer.extension"
"""Entry points of installed packages; each names a module."""


def load() -> None:
    """Import the modules that the environment and installed packages name; what they register is there from then on.

    Raises :class:`UserError` when one is not found, or cannot be imported.
    """
    for point in entry_points(group=GROUP):
        _load(point.module, f"entry point '{point.name}' of '{GROUP}'")
    for module in named():
        _load(module, "--import")


def named() -> list[str]:
    """List the modules and files that the environment names, each once."""
    return list(dict.fromkeys(filter(None, os.environ.get(VARIABLE, "").split(os.pathsep))))


def options() -> list[str]:
    """Return the options by which the program imports what this one does; files must lie at the same place there."""
    return [word for module in named() for word in ("--import", module)]


def _load(module: str, what: str) -> None:
    """Import a module by name, or from a file that ends in .py."""
    try:
        found = _from_file(Path(module)) if module.endswith(".py") else importlib.import_module(module)
    except (ImportError, SyntaxError, ValueError, OSError) as error:
        raise UserError(
            f"{what}: '{module}' cannot be imported ({type(error).__name__}: {error}); "
            "allowed: a module on Python's path, or a file that ends in .py"
        ) from None
    if found.__file__ is not None:  # costs that were counted for an earlier state of it are not used any more
        also(Path(found.__file__))


def _from_file(file: Path) -> ModuleType:
    # Under a name of its own: one such as `types` has to stay what it is.
    name = f"boostformer_import_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError("not a Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
