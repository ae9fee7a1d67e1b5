"""The one exception for mistakes in what the user gave us, and its wording helpers."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Values of ``OSError.errno`` for a full disk, which is neither bad input nor a bug: one line and exit code 1."""
LONGEST = 2_000
"""Characters of a message."""


class UserError(Exception):
    """Bad input: one line that names the file or key, the value, and what is allowed.

    The command line prints it as ``error: …`` and exits with code 2. Anything else that is
    raised is a bug of ours and keeps its traceback. Of a message that a value from outside makes very long, the middle
    is left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(
            message if len(message) <= LONGEST else f"{message[: LONGEST // 2]} … {message[-LONGEST // 2 :]}"
        )


def os_refusal(where: object, what: str, error: OSError) -> UserError:
    """``where: what: why`` of an ``error`` that the user can mend.

    A full disk, which ends otherwise, is raised again.
    """
    if error.errno in FULL:
        raise OSError(error.errno, error.strerror, str(where)) from None
    return UserError(f"{where}: {what}: {error.strerror or error}")


def nearest(name: object, allowed: Iterable[object]) -> str:
    """``did you mean 'x'? allowed: a, b, c``: the end of a message about an unknown name."""
    names = [str(item) for item in allowed]
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}allowed: {', '.join(names)}"


def short(value: object) -> str:
    """Write a value for a message, or the beginning of a long one."""
    try:
        text = str(value).lower() if isinstance(value, bool) else repr(value)
    except ValueError:  # Python writes no number of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:80]}…"
