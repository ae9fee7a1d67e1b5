"""Networks by name: a preset's, an architecture file, a checkpoint folder, or RUN_DIR:TRIAL."""

from __future__ import annotations

import re
from pathlib import Path

from boostformer import architecture_file, presets
from boostformer.architecture import Architecture
from boostformer.architecture_file import SUFFIXES
from boostformer.errors import UserError, nearest
from boostformer.files import expanded, is_folder, located
from boostformer.weights import checkpoint
from results.pareto import pick
from results.run import read_run
from results.storage.location import is_run

FORMS = "a preset's name, an architecture file (.yaml or .json), a checkpoint folder, or RUN_DIR:TRIAL"


def read_architecture(text: str, where: str | None = None) -> Architecture:
    """Read the architecture that ``text`` names; :class:`UserError` when it names none.

    ``where`` is what the network has to satisfy that a rule picks off a run's front, as in ``RUN_DIR:knee``.
    """
    path = Path(text)
    run_dir, separator, trial = text.rpartition(":")
    is_trial = text not in presets.names() and not is_folder(path) and bool(separator) and is_folder(run_dir)
    if where is not None and not is_trial:
        raise UserError(f"--where: is for RUN_DIR:RULE, as in {text}:knee; '{text}' is one network")
    if text in presets.names():
        return presets.load(text)
    if is_folder(path):
        if is_run(path):
            raise UserError(f"{text} is a run; name one of its trials too: {text}:TRIAL")
        return checkpoint.read_config(path).architecture
    if path.suffix in SUFFIXES:
        return architecture_file.read_architecture(path)
    if is_trial:
        run = read_run(Path(run_dir))
        found = pick(run.trials, run.objectives, trial_named(trial), where)
        return Architecture.from_dict(found.architecture, text)
    raise UserError(f"'{text}' is not {FORMS}; presets: {nearest(text, presets.names())}")


def trial_named(text: str) -> int | str:
    """Read what names a trial: its number, or the beginning of its network's id, or a rule."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else text


def named_from(text: str, folder: Path) -> str:
    """Give the name by which a network is found from everywhere that ``text`` names as seen from ``folder``."""
    return text if text in presets.names() else str(located(expanded(Path(text)), folder))
