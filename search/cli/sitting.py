"""One sitting of a training: its progress bar, its resumable state, and how it ends."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from search.cli.output import note
from search.cli.output import progress as progress_of

if TYPE_CHECKING:
    from boostformer.training.loop import Progress


@contextmanager
def sitting(out: Path) -> Iterator[tuple[Path, Progress]]:
    """Give the folder for resumable states of a training into ``out``, and its progress; remove the states at the end.

    Ctrl-C ends with exit code 130 and one line that says how to go on; a training without a result with exit code 1.
    """
    from boostformer.training import TrainingFailure
    from boostformer.weights import checkpoint

    checkpoint.claim(out)
    state = out / "training-state"
    try:
        with progress_of("iterations") as tell:
            yield state, lambda done, total, loss: tell(done, total, f"loss {loss:.3f}")
    except TrainingFailure as failure:
        note(f"error: the training ended without a result: {failure}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        note(f"stopped; to go on from here: {shlex.join(['boostformer', *sys.argv[1:]])}")
        raise typer.Exit(130) from None
    shutil.rmtree(state, ignore_errors=True)
