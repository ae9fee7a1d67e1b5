"""Where a run's data lie now.

The study knows data by their content, so it does not matter that they lie elsewhere than when the search began. The
run's folder keeps where they were last found: as a path, and as seen from the folder, with which they may have moved.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from boostformer.errors import UserError
from boostformer.files import expanded, is_file, is_folder, located, read_json, replacing
from search.config.experiment import Experiment
from search.config.opening import OpenExperiment

PLACES = "places.json"
START_FOLDER = "start"
"""Folder of a run that came with the network which it starts from."""
_DATA, _FROM_HERE = "data", "data_from_here"


def note_data(run_dir: Path, experiment: Experiment) -> None:
    """Keep in the run's folder where its data lie; :class:`UserError` when it cannot be written."""
    root = experiment.data.root
    if root is None:
        return
    here = Path(os.path.relpath(root.resolve(), run_dir.resolve()))
    if _noted(run_dir) != [root, located(here, run_dir)]:
        with replacing(run_dir / PLACES) as part:
            part.write_text(json.dumps({_DATA: str(root), _FROM_HERE: str(here)}, indent=1) + "\n", encoding="utf-8")


def at_its_place(experiment: Experiment, run_dir: Path) -> Experiment:
    """Give the experiment with its data where they are: where they were last found, or still beside the run's folder.

    Where they are in neither place, it is as it was. The network that it starts from is that in the run's folder, if
    there is one. :class:`UserError` when the file that keeps the places is damaged.
    """
    if experiment.start is not None and is_folder(run_dir / START_FOLDER):
        experiment = experiment.starting_at(run_dir / START_FOLDER)
    if experiment.data.root is None:
        return experiment
    places = [*_noted(run_dir), experiment.data.root]
    return experiment.with_data(next(filter(_is_there, places), places[0]))


def moved(experiment: Experiment, data: Path) -> Experiment:
    """Give the experiment with its data at the place that a user names; :class:`UserError` when it has none there."""
    if experiment.data.root is None:
        raise UserError(f"--data '{data}': the search's data are of kind '{experiment.data.kind}', and lie nowhere")
    return experiment.with_data(located(expanded(data)))


def require_data(opened: OpenExperiment) -> None:
    """Open the data; :class:`UserError` when they are missing, which says how to name their place, or others."""
    root = opened.experiment.data.root
    if root is not None and not is_folder(root):
        raise UserError(f"{root}: no such data folder; --data ROOT says where the search's data lie now")
    opened.proxy  # noqa: B018  # compares them


def _noted(run_dir: Path) -> list[Path]:
    file = run_dir / PLACES
    if not is_file(file):
        return []
    values = read_json(file)
    found = [values.get(key) for key in (_DATA, _FROM_HERE)] if isinstance(values, dict) else []
    texts = [text for text in found if isinstance(text, str) and "\0" not in text]
    if len(texts) != 2:
        raise UserError(
            f"{file}: damaged; remove it, and say with `search --resume {run_dir} --data` where the data are"
        )
    return [located(text, run_dir) for text in texts]


def _is_there(root: Path) -> bool:
    try:
        return is_folder(root)
    except UserError:
        return False
