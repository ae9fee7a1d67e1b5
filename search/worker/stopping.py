"""Stopping a worker as Ctrl-C does, from within."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable


def stop_after(wait: Callable[[], object]) -> None:
    """Ctrl-C to this process as soon as ``wait``, which is called in a thread of its own, returns."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it

    def watch() -> None:
        wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()
