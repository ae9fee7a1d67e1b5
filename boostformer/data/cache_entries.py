"""Entries of the cache of decoded arrays: how much they hold, and removal of those that nobody uses."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from boostformer.files import make_folder

CHECKSUMS = "checksums.json"
"""The file without which an entry is none."""
DRAFT = ".tmp-"
UNUSED_DAYS = 30
"""After so many days without an opening an entry is removed."""


def size_of_cache(folder: Path) -> tuple[int, int]:
    """Count the entries in the cache's ``folder``, and their bytes."""
    sizes = [_bytes_of(entry) for entry in _entries(folder)]
    return len(sizes), sum(sizes)


def mark_used(entry: Path) -> None:
    """Note that an entry is used now; where the cache may only be read, its owner looks after that."""
    with contextlib.suppress(OSError):
        os.utime(entry)


def remove_unused(folder: Path) -> None:
    """Remove the entries that were not opened for :data:`UNUSED_DAYS` days, and say so in a line."""
    limit = time.time() - UNUSED_DAYS * 86400
    count = freed = 0
    for entry in _entries(folder):
        with contextlib.suppress(OSError):  # another process was quicker, or it is another user's
            if entry.stat().st_mtime < limit:
                size = _bytes_of(entry)
                discard(entry)
                count, freed = count + 1, freed + size
    if count:
        said = "%s: removed %d sets of decoded files, %.1f MB, that were not used for %d days"
        logging.getLogger(__name__).warning(said, folder, count, freed / 1e6, UNUSED_DAYS)


def remove_abandoned(folder: Path) -> None:
    """Remove the drafts of processes that died, which hold no lock: clocks may differ between machines."""
    for draft in folder.glob(f"*{DRAFT}*"):
        try:
            lock = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue  # its owner has just finished, or is another user
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(draft, ignore_errors=True)
        except OSError:
            pass  # its owner lives, or nobody can tell
        finally:
            os.close(lock)


def make_cache(folder: Path) -> None:
    """Make the cache's ``folder``, for its owner alone: images may be private where they come from."""
    if not folder.is_dir():
        make_folder(folder)
        folder.chmod(0o700)


def share_as(draft: Path, folder: Path) -> None:
    """Let those read an entry of the cache who may read the ``folder`` of the cache, where its owner allowed some."""
    draft.chmod(folder.stat().st_mode & 0o755)


def discard(entry: Path) -> None:
    """Take the entry away at once, so that no other process opens it while it is being deleted."""
    trash = Path(tempfile.mkdtemp(prefix=f"{entry.name}{DRAFT}", dir=entry.parent))
    try:
        entry.rename(trash / "discarded")
    except FileNotFoundError:
        pass  # another process was quicker
    finally:
        shutil.rmtree(trash, ignore_errors=True)


def _entries(folder: Path) -> Iterator[Path]:
    return (file.parent for file in sorted(folder.glob(f"*/{CHECKSUMS}")) if DRAFT not in file.parent.name)


def _bytes_of(entry: Path) -> int:
    total = 0
    with contextlib.suppress(OSError):
        total = sum(file.stat().st_size for file in entry.iterdir())
    return total
