"""Following what an engine has started for `launch`: the workers of a search, or the processes of one training."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from boostformer.errors import UserError
from boostformer.files import exists, make_folder
from boostformer.locks import FileLock
from results.storage.location import JOURNAL_NAME, STORAGE_NAME
from search.cli.output import next_step, note

if TYPE_CHECKING:
    from search.worker.launchers.launcher import Fleet, Launcher


def followed(launcher: Launcher, folder: Path, detach: bool, look: Callable[[Fleet], None]) -> bool | None:
    """Start the workers, or find them, and follow them to their end.

    Args:
        launcher: their engine.
        folder: where launchers keep their things, one of them at a time.
        detach: whether to leave them once they are started.
        look: is called now and then.

    Returns:
        Whether one of them ended by itself; None when they are left. A Ctrl-C stops them, with exit code 130.
    """
    from search.study.folder import LAUNCH
    from search.worker.launchers.following import follow
    from search.worker.launchers.launcher import State

    # Of two launchers that begin at once, the second finds what the first has started.
    make_folder(folder / LAUNCH)
    with FileLock(folder / LAUNCH / "lock"):
        found = launcher.find()
        fleet = found or launcher.start()
    note(f"{'found' if found else 'started'}: {fleet.title}")
    if detach:
        note("the same command without --detach follows them")
        return None
    ends = None
    try:
        ends = follow(fleet, note, lambda: look(fleet))
    except KeyboardInterrupt:
        note("stopping the workers, which save what they are doing …")
    finally:
        fleet.stop()
    if ends is None:
        note("stopped; the same command goes on")
        raise typer.Exit(130)
    return State.ENDED in ends.values()


def training_of(context: Any, what: Path, options: Sequence[str]) -> tuple[Path, tuple[str, ...]]:
    """Return the folder of a new checkpoint, and the command that trains it.

    The options are read as the command itself will, so that a mistake in them is said before anything starts.

    Args:
        context: of the command line.
        what: the folder of a run, one of whose networks is trained; else a network as `train` takes it.
        options: of `retrain`, or of `train`.
    """
    is_run = exists(what / JOURNAL_NAME) or exists(what / STORAGE_NAME)
    words = ("retrain" if is_run else "train", str(what), *options)
    command = context.parent.command.commands[words[0]]
    given = command.make_context(words[0], list(words[1:]), parent=context.parent).params
    out: Path = given["out"]
    return out, words


def follow_training(launcher: Launcher, out: Path, detach: bool) -> None:
    """Start the processes of a training into ``out``, or find them, and follow them: what the first of them says."""
    from boostformer.weights import checkpoint

    told = ""

    def look(fleet: Fleet) -> None:
        nonlocal told
        said = fleet.last_words(0)
        if said != told and not said.startswith("it said nothing"):
            told = said
            note(said)

    ended = followed(launcher, out, detach, look)
    if ended is None:
        return
    if not ended:
        note("the training ended without a result; once what it said is mended, the same command goes on")
        raise typer.Exit(1)
    if not exists(out / checkpoint.CONFIG):
        raise UserError(f"{out}: has no checkpoint here; was it trained on a machine with another file system?")
    next_step(f"boostformer evaluate {shlex.quote(str(out))}")
