"""Reading and writing files: what goes wrong with the user's is one line that names the file.

What is written appears whole under its name or not at all, and is on the disk once that is said.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from boostformer.errors import UserError, os_refusal

LONGEST = 1 << 20
"""Characters of the longest text that a user may write."""


def cache_folder() -> Path:
    """Find the folder of caches: ``$BOOSTFORMER_CACHE``, or ``boostformer`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("BOOSTFORMER_CACHE") or Path(base) / "boostformer")


def expanded(path: str | Path) -> Path:
    """Give ``path`` with the user's folder for a ``~`` at its start, which no shell has replaced in a file."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # a user that is unknown; whoever opens it will say that it is not there
        return Path(path)


def located(path: str | Path, folder: Path | None = None) -> Path:
    """Make ``path``, relative to ``folder`` or else to the one worked in, absolute.

    Links are kept, since what they lead to may move; only a ``..`` is followed, as the system does.
    """
    whole = Path.cwd() / (folder or "") / path
    if ".." not in whole.parts:
        return whole
    end = len(whole.parts) - whole.parts[::-1].index("..")
    return Path(*whole.parts[:end]).resolve().joinpath(*whole.parts[end:])


def is_folder(path: str | Path) -> bool:
    """Tell whether there is a folder at the ``path`` that a user gave; :class:`UserError` where one may not look."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def is_file(path: str | Path) -> bool:
    """Tell whether there is a file at the ``path`` that a user gave; :class:`UserError` where one may not look."""
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def exists(path: str | Path) -> bool:
    """Tell whether there is anything at the ``path`` that a user gave; :class:`UserError` where one may not look."""
    return _mode(path) is not None


def _mode(path: str | Path) -> int | None:
    # Path's own methods raise for some of what a user may give, such as a folder that may not be entered.
    try:
        return Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise os_refusal(path, "cannot be reached", error) from None
    except ValueError:  # a NUL, which no name has
        return None


def check_regular(file: str | Path) -> None:
    """Raise :class:`UserError` for a pipe, device or socket, which may have no end, or never answer.

    OSError where there is nothing that can be looked at.
    """
    mode = Path(file).stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise UserError(f"{file}: a pipe, device or socket, not a file; copy what it gives into a file")


def files_below(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """List a folder and those in it with the names of their files, sorted; links are followed, but none twice.

    OSError when one cannot be listed.
    """
    seen: set[tuple[int, int]] = set()
    for inner, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        status = Path(inner).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link to a folder that holds it would never end
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        yield inner, sorted(names)


def _raise(error: OSError) -> None:
    raise error


def composed(name: str) -> str:
    """Write letters with marks as one: some systems name files with ``a`` and a mark where others have ``ä``."""
    return unicodedata.normalize("NFC", name)


def read_text(file: str | Path, *, missing: str = "no such file", longest: int = LONGEST) -> str:
    """Read the text that a user wrote.

    :class:`UserError` when ``file`` is ``missing``, cannot be read, is no UTF-8, or longer than ``longest`` characters.
    """
    try:
        check_regular(file)
        with Path(file).open(encoding="utf-8") as stream:
            text = stream.read(longest + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{file}: {missing}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: not UTF-8 text") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    if len(text) > longest:
        raise UserError(f"{file}: has more than {longest:,} characters")
    return text


def read_json(file: str | Path, *, missing: str = "no such file", damaged: str = "not JSON") -> object:
    """Read a JSON document that others wrote; errors as :func:`read_text`, and when it is ``damaged``."""
    try:
        return json.loads(read_text(file, missing=missing, longest=8 * LONGEST))
    except RecursionError:
        raise UserError(f"{file}: {damaged}: nested too deeply") from None
    except ValueError as error:  # also a number of thousands of digits
        raise UserError(f"{file}: {damaged}: {error}") from None


@contextlib.contextmanager
def replacing(file: Path, *, parents: bool = False) -> Iterator[Path]:
    """Yield a new, empty file beside ``file`` to write to, which becomes ``file`` when the block ends well.

    So ``file`` is the old one or the new one, whole, whatever happens; after the block it is on the disk, too, and what
    it makes superfluous may be removed. With ``parents`` its folder is made where it is missing. An OSError becomes a
    :class:`UserError` that names the file, unless the disk is full.
    """
    with replacing_together(file, parents=parents) as [part]:
        yield part


@contextlib.contextmanager
def replacing_together(*files: Path, parents: bool = False) -> Iterator[list[Path]]:
    """As :func:`replacing`, for files that belong together: none is replaced before all are written.

    They are replaced in the given order, so the last one should be that without which the others are not used.
    """
    parts: list[Path] = []
    file = files[0]  # the one that an error is about
    try:
        for file in files:
            if parents:
                make_folder(file.parent)
            parts.append(_new_file(file))
        file = files[0]
        modes = [part.stat().st_mode for part in parts]
        yield parts
        for part, mode in zip(parts, modes, strict=True):
            if part.stat().st_mode != mode:  # some libraries make the file anew, for its owner alone
                part.chmod(mode)
            sync(part)
        for file, part in zip(files, parts, strict=True):
            publish(part, file)
    except OSError as error:
        raise os_refusal(file, "cannot be written", error) from None
    finally:
        for part in parts:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def check_writable(file: Path) -> None:
    """Refuse a file that cannot be written before its content is computed; what lies there stays as it is."""
    try:
        make_folder(file.parent)
        _new_file(file).unlink()
    except OSError as error:
        raise os_refusal(file, "cannot be written", error) from None


def sync_folder(folder: Path) -> None:
    """Wait until the files in ``folder`` and their names are on the disk."""
    for path in (*folder.iterdir(), folder):
        sync(path)


def publish(draft: Path, final: Path) -> None:
    """Rename ``draft``, a file or folder that is on the disk, to ``final``; that name is on the disk afterwards.

    A file replaces one of that name; a folder raises OSError where there is one that is not empty.
    """
    draft.replace(final)
    sync(final.parent)


def make_folder(folder: Path) -> None:
    """Make ``folder`` and those above it where they are missing, on the disk."""
    try:
        folder.mkdir()
    except FileNotFoundError:
        make_folder(folder.parent)
        make_folder(folder)
    except OSError:  # a read-only file system may say that first of a folder which is there
        if not folder.is_dir():
            raise
    else:
        sync(folder.parent)


@contextlib.contextmanager
def appending(file: Path) -> Iterator[BinaryIO]:
    """Open a file of ours to append to, made where it is missing; OSError where a link lies in its place.

    What is written in one piece of a few lines is not mixed with what other processes write.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    with os.fdopen(os.open(file, flags, 0o666), "ab") as stream:
        yield stream


def _new_file(file: Path) -> Path:
    """A file beside ``file`` whose name nobody can foresee; where it is taken, if only by a link, OSError."""
    part = file.with_name(f".{file.name}.{secrets.token_hex(8)}.part")
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
    return part


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems, of other machines above all, cannot do that for folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)
