"""Blocks, one decorated class each; importing this package registers all that its modules declare, and the user's."""

from __future__ import annotations

import importlib
import pkgutil

from boostformer import extensions

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
extensions.load()
