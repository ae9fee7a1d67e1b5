"""Commands of the program in processes of their own, which are held, looked at and ended."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from disturbed import HANGS_AFTER
from scale import FORK

from boostformer import files
from boostformer.training.state import ResumableState

NEEDED = ("accelerate", "boostformer.deploy.export", "boostformer.predict", "boostformer.training")
NEEDED += ("matplotlib.figure", "results.report.draw_curves", "search.cli.program", "search.worker.loop")
NEEDED += ("torch._dynamo", "torch.export._trace")  # by the first step of an optimizer, and by an export
"""Modules that are imported once, so that the processes that are forked have them already."""


class Command:
    """A command of the program in a process of its own, and what it says: also each state and file that it saved.

    Args:
        beside: what it says is kept in a file beside this one.
        words: of the command.
        before: called in its process before it begins.
    """

    def __init__(self, beside: Path, *words: object, before: Callable[[], object] = lambda: None) -> None:
        self._file = beside.with_name(f"{uuid.uuid4().hex}.txt")
        self._file.touch()
        for name in NEEDED:
            importlib.import_module(name)
        self._process = FORK.Process(target=self._run, args=(["boostformer", *map(str, words)], before))
        self._process.start()

    def said(self) -> str:
        return self._file.read_text()

    def wait_for(self, word: str) -> None:
        """Wait until it says a word."""
        ends = time.monotonic() + HANGS_AFTER
        while word not in self.said():
            assert self._process.is_alive() and time.monotonic() < ends, self.said()[-4000:]
            time.sleep(0.002)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Hold it for the block, so that nothing changes beside what is looked at; it may have ended before."""
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGCONT)

    def end(self, code: int = 0) -> None:
        """Let it come to its end, with this exit code."""
        self._process.join(HANGS_AFTER)
        assert self._process.exitcode == code, f"it ended with {self._process.exitcode}: {self.said()[-4000:]}"

    def _run(self, words: list[str], before: Callable[[], object]) -> None:
        before()
        main = importlib.import_module("search.cli.program").main
        save, publish = ResumableState.save, files.publish

        def telling(state: ResumableState, iteration: int, *rest: Any) -> None:
            save(state, iteration, *rest)
            if state._folder is not None:  # the steps that are only timed keep none
                print(f"state {iteration} is saved", file=sys.stderr)

        def placing(draft: Path, final: Path) -> None:
            publish(draft, final)
            print(f"{final.name} is in place", file=sys.stderr)

        telling_of = patch.object(ResumableState, "save", telling), patch.object(files, "publish", placing)
        with self._file.open("a") as file, telling_of[0], telling_of[1]:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
            sys.argv = words
            main()
