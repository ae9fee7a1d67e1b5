"""The order in which files are synced, renamed and removed."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest


class Disk:
    """Records what happens to files under ``root``; drafts of random names are called ``… draft``."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.happened = root, list[str]()
        fsync, replace, rename, rmtree = os.fsync, os.replace, os.rename, shutil.rmtree

        def synced(descriptor: int) -> None:
            fsync(descriptor)
            self._note("sync", Path(f"/proc/self/fd/{descriptor}").readlink())

        def renamed(how: Any) -> Any:
            def rename(source: Any, target: Any, **options: Any) -> None:
                how(source, target, **options)
                self._note("rename", source, target)

            return rename

        def removed(path: Any, *arguments: Any, **options: Any) -> None:
            if Path(path).exists():
                self._note("remove", path)
            rmtree(path, *arguments, **options)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(os, "replace", renamed(replace))
        monkeypatch.setattr(os, "rename", renamed(rename))
        monkeypatch.setattr(shutil, "rmtree", removed)

    def _note(self, what: str, *paths: Any) -> None:
        within = [Path(path) for path in paths]
        if all(path.is_relative_to(self.root) for path in within):
            self.happened.append(f"{what} " + " -> ".join(self._name(path) for path in within))

    def _name(self, path: Path) -> str:
        name = re.sub(r"draft-[0-9a-f]{16}", "draft", str(path.relative_to(self.root)))
        return re.sub(r"\.([^/]+?)\.[0-9a-f]{16}\.part", r"\1 draft", name)
