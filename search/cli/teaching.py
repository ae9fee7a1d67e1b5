"""``--teacher`` and ``--unlabelled`` of the commands that train a segmenter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boostformer.errors import UserError
from boostformer.shown import number_of
from search.cli.output import about_option, note

if TYPE_CHECKING:
    from boostformer.data import DataConfig, SegmentationSplit
    from boostformer.teachers.teacher import Teacher
    from boostformer.training import Recipe
    from boostformer.training.taught import Teaching

TeacherOption = Annotated[
    str | None,
    typer.Option(
        metavar="SOURCE",
        help="Trained network to learn from beside the labels: a checkpoint, a folder or repository of transformers, "
        "or a folder of stored logits (NAME.npy, classes x h x w).",
    ),
]
UnlabelledOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Images without masks, which are learnt from the teacher alone."),
]

STUDENT_PASSES = 3
"""A step of the student is taken for so many forward passes: its backward pass costs about two."""


def open_teaching(
    teacher: str | None,
    unlabelled: Path | None,
    data: DataConfig,
    training: SegmentationSplit,
    recipe: Recipe,
    cache: Path | None = None,
) -> Teaching | None:
    """Open what ``--teacher`` and ``--unlabelled`` name, and say what they are; None without them.

    Args:
        teacher: the teacher's source.
        unlabelled: folder of images without masks.
        data: the data's settings.
        training: the images with masks.
        recipe: how to train.
        cache: folder for decoded images.

    Raises:
        UserError: one is missing, damaged, or does not fit the other, the data or the recipe.
    """
    from boostformer.data.unlabelled import open_unlabelled
    from boostformer.files import expanded
    from boostformer.teachers.opening import open_teacher
    from boostformer.teachers.teacher import match_classes
    from boostformer.training.taught import Teaching

    if teacher is None:
        if unlabelled is not None:
            raise UserError(f"--unlabelled {unlabelled}: images without masks teach nothing without --teacher")
        return None
    others = open_unlabelled(expanded(unlabelled), training.labels, data, cache) if unlabelled is not None else None
    splits = [training] if others is None else [training, others]
    images = [split.name(index) for split in splits for index in range(len(split))]
    with about_option("--teacher"):
        found = open_teacher(teacher, data.size, images)
    teaching = Teaching(found, others)
    teaching.check(recipe)
    _, said = match_classes(found, training.labels)
    for line in filter(None, (_introduction(found, data.size), *found.remarks, said)):
        note(line)
    if others is not None:
        share = recipe.distillation.unlabelled_share or len(others) / len(images)
        note(f"{unlabelled}: {number_of(len(others), 'image')} without masks, {share:.0%} of those that are trained on")
    return teaching


def cost_share(teacher: Teacher, student_macs: int) -> str | None:
    """Word how much of a step the teacher costs; None for stored logits, which are only read."""
    if not teacher.macs:
        return None
    share = teacher.macs / (teacher.macs + STUDENT_PASSES * student_macs)
    return f"of a step's multiply-adds {share:.0%} are the teacher's"


def _introduction(teacher: Teacher, size: tuple[int, int]) -> str:
    from results.summary import human

    own = teacher.identity
    what = f"stored logits of {number_of(teacher.classes, 'class')}"
    if own.params is not None:
        macs = f"{human('macs', teacher.macs)} MACs at {size[0]}x{size[1]}"
        what = f"{human('params', own.params)} params, {macs}, {number_of(teacher.classes, 'class')}"
    licence = own.licence or "unknown (no model card says it)"
    return f"teacher {own.id}: {what}, sha256 {own.sha256[:8]}, licence {licence}"
