"""Fingerprints of code: what is computed once and kept must not outlive the code that computed it. Torch-free."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_OTHERS: list[Path] = []


def also(file: Path) -> None:
    """Count a source file from outside, or all of the package whose ``__init__`` it is, among those of every hash."""
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    _OTHERS.extend(found for found in files if found not in _OTHERS)
    code_fingerprint.cache_clear()


@cache
def code_fingerprint(*patterns: str, root: Path = ROOT) -> str:
    """Hash the version of torch and the content of source files: 16 hexadecimal digits.

    ``patterns`` are files or globs below ``root``, where the rooms lie: ``boostformer/blocks/*.py``. ValueError for one
    that matches nothing, so that a file that is moved does not silently leave the fingerprint.
    """
    digest = hashlib.sha256(version("torch").encode())
    for pattern in patterns:
        files = sorted(root.glob(pattern))
        if not files:
            raise ValueError(f"no source file matches {pattern}")
        for file in files:
            digest.update(file.read_bytes())
    for file in _OTHERS:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
