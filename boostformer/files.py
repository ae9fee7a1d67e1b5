"""Reading and writing files: what goes wrong with the user's is one line that names the file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from boostformer.errors import UserError, os_refusal


def cache_folder() -> Path:
    """``$BOOSTFORMER_CACHE``, or ``boostformer`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("BOOSTFORMER_CACHE") or Path(base) / "boostformer")


def read_text(file: str | Path, *, missing: str = "no such file") -> str:
    """The text of ``file``; :class:`UserError` when it is ``missing``, cannot be read, or is not UTF-8."""
    try:
        return Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{file}: {missing}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: not UTF-8 text") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A name beside ``file`` to write to, which becomes ``file`` when the block ends well.

    So ``file`` is the old one or the new one, whole, whatever happens. Of files that belong together the
    innermost block's comes first. An OSError in the block becomes a :class:`UserError`, unless the disk is full.
    """
    # The process's number, so that two that write the same file do not write into each other's.
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(file)
    except OSError as error:
        raise os_refusal(file, "cannot be written", error) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
