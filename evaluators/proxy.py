"""Proxy training: the score of a network after a short training, which can be carried on to longer ones."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from boostformer.architecture import Architecture
from boostformer.data import DataConfig, open_splits
from boostformer.data.aspect import stretched
from boostformer.data.normalise import Normalisation, normalisation_for
from boostformer.data.part import Part
from boostformer.data.tiles import tiled
from boostformer.errors import UserError
from boostformer.model import BoostFormer, build
from boostformer.shown import number_of
from boostformer.start import LostWeights, Trained, take_over
from boostformer.training import Recipe, TrainingFailure, evaluate, loop, train
from boostformer.training.devices import processes
from boostformer.training.loop import Progress
from boostformer.training.metrics import confusion_over
from boostformer.training.state import keep_state, saved_after
from boostformer.training.taught import Teaching
from boostformer.training.threads import using

LONG = 20.0
"""Seconds of steps after which a pace is known well enough; those of a large network on a CPU take minutes each."""
IMAGES_AND_MASKS = "training images or masks"
"""Key of their digest in what a training's state is about; when it differs, a message names it."""


class _KnownWellEnough(Exception):
    """Ends a training of which only the pace is wanted."""


@dataclass(frozen=True)
class Score:
    """The result of an evaluation.

    Attributes:
        miou: in 0…1, on the validation part.
        seconds: wall-clock time of this evaluation.
        provenance: how the score came about, in words.
        iterations: all that the network was trained for.
        resumed_from: how many of them an earlier evaluation had made, in its own time.
        weights: of the trained network by name, on the CPU.
        iou: of each class; None for one that occurs neither in labels nor in predictions.
    """

    miou: float
    seconds: float
    provenance: str
    iterations: int = 0
    resumed_from: int = 0
    weights: dict[str, Tensor] | None = field(default=None, repr=False, compare=False)
    iou: tuple[float | None, ...] | None = None


@dataclass(frozen=True)
class Beginning:
    """A trained network that a training begins from.

    Attributes:
        id: its name in words.
        digest: which weights they are.
        read: gives them; raises :class:`boostformer.start.LostWeights`.
    """

    id: str
    digest: str
    read: Callable[[], Trained]


class Proxy:
    """Trains networks on the training part of some data, and scores them on its validation part.

    Raises UserError for data that are missing, damaged or inconsistent, and for several rungs with another schedule
    than "wsd".

    Args:
        data: the data.
        recipe: how to train.
        cache: folder for decoded and resized images, shared by trials, runs and processes.
        rungs: iterations of trainings of rising fidelity, each carried on from the one before with the same warm-up; by
            default a single one, as long as ``recipe`` says.
    """

    def __init__(
        self, data: DataConfig, recipe: Recipe, cache: Path | None = None, rungs: tuple[int, ...] = ()
    ) -> None:
        self.data = data
        self.recipes = [_at_length(recipe, iterations) for iterations in rungs or (recipe.iterations,)]
        if len(self.recipes) > 1 and recipe.schedule != "wsd":
            raise UserError(f"schedule '{recipe.schedule}' cannot be carried on; several rungs need 'wsd'")
        opened = open_splits(data, cache)
        self.training, self.validation = opened("training"), opened("validation")
        self._paces: dict[str, tuple[float, float]] = {}

    @property
    def labels(self) -> list[str]:
        """Names of the classes."""
        return self.training.labels

    @property
    def bands(self) -> int:
        """Number of bands of the images."""
        return self.training.reading.count

    @cached_property
    def normalisation(self) -> Normalisation:
        """Mean and deviation of the training part's bands."""
        return normalisation_for(self.training)

    def network(self, arch: Architecture, recipe: Recipe) -> BoostFormer:
        """Build a fresh network for these data."""
        model = build(arch, recipe.drop_path)
        model.normalisation = self.normalisation
        return model

    @cached_property
    def content(self) -> dict[str, str]:
        """Digest of each split's samples, wherever they lie."""
        return {"training": self.training.content(), "validation": self.validation.content()}

    def remarks(self) -> list[str]:
        """Say in lines what a person may not expect of this size and recipe on these data."""
        recipe, images = self.recipes[0], len(self.training)
        repeated = None
        if recipe.batch_size > images:
            repeated = f"batch_size {recipe.batch_size} is above the {images} training images: each step repeats some"
        said = (stretched(self.validation), tiled(self.validation), recipe.remark(self.labels), repeated)
        return [line for line in said if line is not None]

    def evaluate(
        self,
        arch: Architecture,
        seed: int,
        progress: Progress | None = None,
        *,
        rung: int = 0,
        folder: Path | None = None,
        start: Beginning | None = None,
    ) -> Score:
        """Train a network and score it.

        Raises :class:`boostformer.training.TrainingFailure`, which has the reason, UserError when ``folder`` holds
        another training or cannot be written, and LostWeights when those of ``start`` are needed and not there.

        Args:
            arch: the network.
            seed: decides the first weights and the order of the images.
            progress: is told how far the training is.
            rung: index of the training's length among the rungs.
            folder: where the training's state is kept about every minute, for this network and seed alone. The next
                call goes on from there, for this rung or the next, to the same score. :meth:`tidy` it once the score is
                recorded.
            start: what the network inherits from, as far as it goes; by default it has random weights. A training that
                goes on from its own state does not need it any more.
        """
        started = time.perf_counter()
        recipe = self.recipes[rung].model_copy(update={"seed": seed})
        about = {"architecture": arch.id, "data": self._identity(), IMAGES_AND_MASKS: self.content["training"]}
        torch.manual_seed(seed)
        model = self.network(arch, recipe)
        begun, lost = "from scratch", None
        if start is not None:
            about["parent"] = start.digest
            try:
                share = take_over(model, start.read(), self.labels)
                begun = f"inherited from {start.id} ({share:.0%} of its numbers)"
            except LostWeights as error:
                if folder is None or not saved_after(folder):
                    raise
                begun, lost = f"inherited from {start.id}", error
        try:
            report = train(
                model,
                self.training,
                recipe,
                size=self.data.size,
                progress=progress,
                resume_dir=folder,
                about=about,
            )
        except TrainingFailure:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        if lost is not None and not report.resumed_from:  # the state was damaged: this began from random weights
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            raise lost
        with using(report.threads):
            metrics = evaluate(model, self.validation, size=self.data.size)
        carried = f"carried on from {report.resumed_from}" if report.resumed_from else ""
        words = [carried, begun] if start is not None else [carried or begun]
        length = f"{number_of(recipe.iterations, 'iteration')} of {recipe.batch_size}"
        how = f"proxy training, {length}, {', '.join(filter(None, words))}"
        weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
        seconds, iou = time.perf_counter() - started, tuple(metrics.per_class)
        return Score(metrics.miou, seconds, how, recipe.iterations, report.resumed_from, weights, iou)

    def tidy(self, folder: Path, rung: int) -> None:
        """Remove from ``folder`` all but what the rung after ``rung`` goes on from; after the last rung, all."""
        keep_state(folder, self.recipes[rung].trunk if rung + 1 < len(self.recipes) else None)

    def estimate_seconds(
        self, arch: Architecture, rung: int = 0, *, from_scratch: bool = False, teaching: Teaching | None = None
    ) -> float:
        """Estimate the wall-clock seconds of :meth:`evaluate`, from a few of its steps, measured once per network.

        Above the first rung the training is carried on from the rung below, unless ``from_scratch``. With
        ``teaching`` the steps are those of a full training with a teacher. Raises
        :class:`boostformer.training.TrainingFailure` when the memory does not suffice.
        """
        key = arch.id if teaching is None else f"{arch.id} taught by {teaching.teacher.identity.sha256}"
        if key not in self._paces:
            self._paces[key] = self._measured_pace(arch, teaching)
        step, scoring = self._paces[key]
        done = 0 if rung == 0 or from_scratch else self.recipes[rung - 1].trunk
        return (self.recipes[rung].iterations - done) * step + (1 + self.recipes[rung].validations) * scoring

    def pace(self, arch: Architecture) -> tuple[float, float]:
        """Measure anew the wall-clock seconds of a step, and of scoring the validation part."""
        return self._measured_pace(arch, None)

    def seconds_per_step(self, arch: Architecture, teaching: Teaching | None = None) -> float:
        """Measure anew the wall-clock seconds of a training's step."""
        return self._measured_pace(arch, teaching)[0]

    def _measured_pace(self, arch: Architecture, teaching: Teaching | None) -> tuple[float, float]:
        """Measure the seconds of one step, and of scoring the validation part."""
        recipe = self.recipes[0]
        model = self.network(arch, recipe)
        reports: list[tuple[int, float]] = []
        threads: int | None = None

        def told(done: int, *_: object) -> None:
            nonlocal threads
            threads = torch.get_num_threads()
            reports.append((done, time.perf_counter()))
            if processes().num_processes == 1 and reports[-1][1] - reports[0][1] > LONG:
                raise _KnownWellEnough

        # Until the first report everything warms up. With next to no learning rate a recipe that diverges is timed too.
        steps = max(5, 2 * loop.report_every(processes().device))
        few = recipe.model_copy(update={"iterations": steps, "warmup_iterations": 0, "lr": 1e-12})
        with suppress(_KnownWellEnough):
            train(model, self.training, few, size=self.data.size, progress=told, teaching=teaching)
        step = 0.0
        if reports:  # of several processes only the main one is told
            (first, began), (last, ended) = reports[0], reports[-1]
            step = (ended - began) / (last - first)
        with using(threads):
            confusion_over(model, Part(self.validation, range(1)), size=self.data.size)
            images = Part(self.validation, range(min(8, len(self.validation))))
            started = time.perf_counter()
            confusion_over(model, images, size=self.data.size)
            image = (time.perf_counter() - started) / len(images)
        return step, len(self.validation) * image

    def _identity(self) -> dict[str, object]:
        """Describe these data by their content, wherever they lie."""
        counts = {"training": len(self.training), "validation": len(self.validation)}
        return self.data.model_dump(mode="json", exclude={"root"}) | {"labels": self.labels, "images": counts}


def _at_length(recipe: Recipe, iterations: int) -> Recipe:
    return type(recipe)(**(recipe.model_dump() | {"iterations": iterations}))
