"""Opening of a teacher by the name that a person gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from boostformer.start import find_folder
from boostformer.teachers.networks import open_network
from boostformer.teachers.stored import StoredTeacher
from boostformer.teachers.teacher import Teacher
from boostformer.weights.preprocessor import PREPROCESSOR

_MORE = (PREPROCESSOR, "model-*.safetensors", "model.safetensors.index.json")


def open_teacher(source: str | Path, size: tuple[int, int], images: Sequence[str]) -> Teacher:
    """Open a teacher for a training.

    Args:
        source: a checkpoint of ours, a folder or hub repository of transformers, or a folder of stored logits.
        size: (H, W) of the images it is shown.
        images: names of all images that are trained on, of which stored logits are needed.

    Raises:
        UserError: it is none of these, cannot be loaded, or lacks logits of an image.
    """
    folder = find_folder(source, _MORE)
    if StoredTeacher.is_in(folder):
        return StoredTeacher(folder, str(source), images)
    teacher = open_network(folder, str(source))
    teacher.measure(size)
    return teacher
