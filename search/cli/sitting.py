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

from boostformer.errors import UserError
from search.cli.output import note
from search.cli.output import progress as progress_of

if TYPE_CHECKING:
    from boostformer.training.loop import Progress


STATE = "training-state"


def claim(out: Path) -> None:
    """Make ``out`` for a new checkpoint; UserError if it holds one, unless only its scoring is left to be done."""
    from boostformer.training.state import newest_state
    from boostformer.weights import checkpoint

    if not (_unscored(out) and newest_state(out / STATE)):
        checkpoint.claim(out)


def _unscored(out: Path) -> bool:
    from boostformer.weights import checkpoint

    try:
        return "metrics" not in checkpoint.read_config(out).provenance
    except UserError:
        return False


@contextmanager
def sitting(out: Path) -> Iterator[tuple[Path, Progress]]:
    """Give the folder for resumable states of a training into ``out``, and its progress; remove the states at the end.

    Within, the trained network is saved before it is scored, so that nothing is lost when scoring dies. Ctrl-C ends
    with one line that says how to go on, exit code 130; a training or scoring without a result with exit code 1.
    """
    from boostformer.training import TrainingFailure

    claim(out)
    state = out / STATE
    try:
        with progress_of("iterations") as tell:
            yield state, lambda done, total, loss: tell(done, total, f"loss {loss:.3f}")
    except TrainingFailure as failure:
        if _unscored(out):
            score = shlex.join(["boostformer", "evaluate", str(out)])
            note(f"error: scoring ended without a result: {failure}; the trained network is saved: {score}")
        else:
            note(f"error: the training ended without a result: {failure}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        note(f"stopped; to go on from here: {shlex.join(['boostformer', *sys.argv[1:]])}")
        raise typer.Exit(130) from None
    shutil.rmtree(state, ignore_errors=True)
