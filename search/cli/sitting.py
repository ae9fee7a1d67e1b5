"""One sitting of a training: its progress bar, its logs, its resumable state, and how it ends."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from boostformer.errors import UserError
from boostformer.locks import held
from boostformer.shown import number_of
from search.cli.output import Tell, note
from search.cli.output import progress as progress_of

if TYPE_CHECKING:
    from boostformer.training import Metrics, Recipe
    from boostformer.training.log import MetricsLog, Standing


STATE = "training-state"


def claim(out: Path, recipe: Recipe) -> None:
    """Make ``out`` for a new checkpoint; UserError if it holds one, unless something is left to be done with it.

    That is its scoring, or a longer training that goes on from where the rate began to fall.
    """
    from boostformer.training.state import saved_after
    from boostformer.weights import checkpoint

    states = saved_after(out / STATE)
    longer = _recipe(out).get("iterations", 0) < recipe.iterations
    if states and (_unscored(out) or (longer and states[0] <= recipe.trunk)):
        return
    try:
        checkpoint.claim(out)
    except UserError as error:
        if not states:
            raise
        after, done = states[0], _recipe(out).get("iterations", 0)
        raise UserError(
            f"{error}; with schedule wsd and more than {done} iterations, of which the rate is constant for at least "
            f"{after}, a training goes on from it"
        ) from None


def _unscored(out: Path) -> bool:
    return "metrics" not in (_provenance(out) or {"metrics": None})


def carried_on(out: Path, recipe: Recipe) -> Recipe:
    """Give ``recipe`` with the warm-up of the shorter training in ``out`` that it goes on from; itself without one.

    A longer training would by itself have a longer warm-up, and so another beginning.
    """
    from boostformer.training.state import newest_state

    done = _recipe(out)
    warmup = done.get("warmup_iterations", recipe.warmup_iterations)
    shorter = 0 < done.get("iterations", 0) < recipe.iterations
    if recipe.schedule != "wsd" or not shorter or not newest_state(out / STATE):
        return recipe
    length = number_of(done["iterations"], "iteration")
    note(f"goes on from the training of {length} in {out}, with its warm-up of {warmup}")
    return recipe.model_copy(update={"warmup_iterations": warmup})


def _recipe(out: Path) -> dict[str, Any]:
    """Read how the checkpoint in ``out`` was trained; nothing without one."""
    found: dict[str, Any] = (_provenance(out) or {}).get("recipe", {})
    return found


def _provenance(out: Path) -> dict[str, Any] | None:
    from boostformer.weights import checkpoint

    try:
        return checkpoint.read_config(out).provenance
    except UserError:
        return None


@dataclass(frozen=True)
class Live:
    """Shows on one line how a training stands, and writes it into its log."""

    tell: Tell
    log: MetricsLog

    def begin(self, start: int) -> None:
        """See :class:`boostformer.training.log.Log`, as for what follows."""
        if start:
            note(f"resumed after iteration {start}")
        self.log.begin(start)

    def see(self, now: Standing) -> None:
        self.log.see(now)
        self.tell(now.iteration, now.iterations, described(now))

    def keep(self) -> None:
        self.log.keep()

    def end(self, metrics: Metrics) -> None:
        self.log.end(metrics)


def first_goes_on() -> None:
    """End here all processes of one training but the first, which saves and scores what they trained together."""
    if os.environ.get("RANK", "0") != "0":
        raise typer.Exit


def described(now: Standing) -> str:
    """Word how a training stands: loss, scores so far, speed, memory."""
    parts = [f"loss {now.loss:.3f}"]
    if now.latest is not None and now.best is not None:
        parts.append(f"mIoU {now.latest.miou:.1%} (best {now.best.metrics.miou:.1%})")
    if now.images_per_second is not None:
        parts.append(f"{now.images_per_second:.3g} images/s")
    if now.waiting is not None:
        parts.append(f"{now.waiting:.0%} waiting for data")
    return ", ".join([*parts, f"{now.memory / 2**20:,.0f} MB"])


@contextmanager
def sitting(out: Path, recipe: Recipe, trackers: Sequence[str] = ()) -> Iterator[tuple[Path, Live]]:
    """Give the folder for resumable states of a training by ``recipe`` into ``out``, and what watches it.

    ``trackers`` are told of it beside ``out/metrics.csv``. The states are removed at the end, but for the one that a
    longer training can go on from. Within, the trained network is saved before it is scored, so that nothing is lost
    when scoring dies. UserError when another process trains into ``out``. Ctrl-C ends with one line that says how to
    go on, exit code 130; a training or scoring without a result with exit code 1.
    """
    with held(out):
        claim(out, recipe)
        yield from _sitting(out, recipe, trackers)


def _sitting(out: Path, recipe: Recipe, trackers: Sequence[str]) -> Iterator[tuple[Path, Live]]:
    from boostformer.training import TrainingFailure
    from boostformer.training.log import MetricsLog
    from boostformer.training.state import keep_state

    state, log = out / STATE, MetricsLog(out, trackers, recipe.model_dump(mode="json"))
    try:
        with progress_of("iterations") as tell:
            yield state, Live(tell, log)
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
    finally:
        log.close()
    if recipe.schedule == "wsd" and state.is_dir():
        keep_state(state, recipe.trunk)
        note(f"a longer training (--iterations) goes on from iteration {recipe.trunk}, kept in {state}")
    else:
        shutil.rmtree(state, ignore_errors=True)
