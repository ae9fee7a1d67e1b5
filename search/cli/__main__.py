"""Run the command line, as `boostformer` and as `python -m search.cli`."""

from __future__ import annotations

import os
import signal
from typing import Any


def main() -> None:
    """Run the program; Ctrl-C while it is still being loaded ends it at once, with nothing to say."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:  # else it is ignored, as in a shell's background job
        signal.signal(signal.SIGINT, _leave)
    from search.cli.program import main as program

    signal.signal(signal.SIGINT, usual)
    program()


def _leave(number: int, frame: Any) -> None:
    os._exit(130)  # an exception would meet whatever is being imported


if __name__ == "__main__":
    main()
