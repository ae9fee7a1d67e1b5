"""What tests of annotation files share: copies of layouts with mistakes in them, and the line that is expected."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from boostformer.data.config import DataConfig
from boostformer.data.folder import FolderData
from boostformer.errors import UserError

COCO = "annotations/instances_train2017.json"


def copied(written: Callable[[str], Path], name: str, tmp_path: Path) -> Path:
    return shutil.copytree(written(name), tmp_path / name)


def change(path: Path, edit: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def refused(root: Path, *words: str, **settings: Any) -> None:
    """Expect one line with all of ``words``, when listing or when all masks are read."""
    with pytest.raises(UserError) as caught:
        FolderData(DataConfig(root=root, **settings)).split("training")
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    for word in words:
        assert word in message


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
