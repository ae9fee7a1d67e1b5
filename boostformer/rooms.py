"""The packages beside this one, found whatever the user's own folders are called."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

ROOMS = ("search_space", "evaluators", "results", "search")
_BESIDE = Path(__file__).resolve().parent.parent


class _Finder:
    """Finds these packages in the folder that this one is in, before Python looks in the working directory."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(_BESIDE)]) if name in ROOMS else None


def open_rooms() -> None:
    """See to it that ``import results`` and the like mean the packages beside this one from now on.

    A folder ``results`` in the working directory would otherwise stand before ours. ImportError where a module of such
    a name that is not ours is imported already.
    """
    for room in ROOMS:
        if room in sys.modules and (found := sys.modules[room].__file__) != str(_BESIDE / room / "__init__.py"):
            raise ImportError(f"'{room}' was imported from elsewhere ({found or 'a folder'}), not from {_BESIDE}")
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
