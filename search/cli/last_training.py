"""The end of a lightening: the best network of its search is trained in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostformer.errors import UserError
from boostformer.shown import number_of
from search.cli.full_training import FullTraining, watched
from search.cli.lightening import Folder
from search.cli.output import busy, note

if TYPE_CHECKING:
    from boostformer.architecture import Architecture
    from boostformer.data.config import DataConfig
    from boostformer.training import Recipe
    from boostformer.training.taught import Teaching
    from evaluators.proxy import Proxy
    from search.config.experiment import Experiment

PICK = "best-miou"
"""The network of the front that is trained in full: it loses least."""


@dataclass(frozen=True)
class LastTraining:
    """How the pick of a search is trained.

    Attributes:
        images: to train on.
        recipe: how.
        teacher: source of the teacher, if there is one.
        trackers: who is told of the training's course.
    """

    images: DataConfig
    recipe: Recipe
    teacher: str | None
    trackers: Sequence[str]

    @cached_property
    def _proxy(self) -> Proxy:
        from boostformer.data.cache import data_cache
        from evaluators.proxy import Proxy

        return Proxy(self.images, self.recipe, data_cache())

    @cached_property
    def _teaching(self) -> Teaching | None:
        from boostformer.teachers.opening import open_teacher
        from boostformer.training.taught import Teaching

        if self.teacher is None:
            return None
        names = [self._proxy.training.name(index) for index in range(len(self._proxy.training))]
        found = Teaching(open_teacher(self.teacher, self.images.size, names))
        found.check(self.recipe)
        return found

    def say_cost(self, start: Architecture) -> None:
        """Say what it will cost, before the search begins, which says what it costs itself.

        ``start`` is heavier than whatever will be trained. UserError when the teacher does not fit.
        """
        from boostformer.training import TrainingFailure
        from search.worker.progress import duration

        proxy, recipe = self._proxy, self.recipe
        network = start.replace(classes=len(proxy.labels), bands=proxy.bands)
        try:
            with busy("measuring a few steps of the network given …"):
                seconds = proxy.estimate_seconds(network, teaching=self._teaching)
            told = f"at most about {duration(seconds)} (an estimate, from a few steps of the network given)"
        except TrainingFailure as failure:
            told = f"for a time that is unknown: {failure}"
        taught = f", taught by {self.teacher}" if self.teacher is not None else ""
        length = f"{number_of(recipe.iterations, 'iteration')} of {recipe.batch_size}"
        note(f"at the end the best is trained for {length}{taught}: {told}")

    def run(self, folder: Folder, experiment: Experiment) -> Path:
        """Train the pick of the search, which has ended, from the weights that it has, unless that is done.

        Args:
            folder: the lightening's.
            experiment: the search.

        Returns:
            The network's folder.
        """
        from boostformer.architecture import Architecture
        from results.pareto import pick
        from results.run import read_run
        from search.cli.outcome import show_end
        from search.cli.retraining import begins, carry_out, inherited, origin
        from search.cli.run import resumable

        search = folder.search
        with resumable(search):
            show_end(search, experiment.latency)
        run = read_run(search)
        chosen = pick(run.trials, run.objectives, PICK)
        out = folder.path / f"net-{chosen.id}"
        if self._is_done(out):
            note(f"{out}: trial {chosen.number}, {PICK} of the front, is trained already")
            return out
        start = inherited(search, experiment, chosen)
        plan = FullTraining(
            Architecture.from_dict(chosen.architecture),
            self.images,
            self.recipe,
            out,
            start,
            {"searched": origin(search, run, experiment, chosen, PICK)},
            begins(run, chosen, start),
            teacher=self.teacher,
            trackers=self.trackers,
        )
        carry_out(plan, search, experiment.content)
        return out

    def _is_done(self, net: Path) -> bool:
        """Tell whether this training has ended in ``net``; UserError when it was by another recipe or teacher."""
        from boostformer.weights import checkpoint
        from search.config.experiment import difference

        known = checkpoint.read_config(net).provenance if checkpoint.is_ours(net) else {}
        if "metrics" not in known:
            return False
        if differs := difference(known.get("recipe", {}), watched(self.recipe).model_dump(mode="json")):
            raise UserError(f"{net}: was trained by another recipe: {differs}; move it away to train it anew")
        before, now = known.get("teacher"), self._teaching.teacher.identity.to_dict() if self._teaching else None
        if _hash_of(before) != _hash_of(now):
            raise UserError(
                f"{net}: was trained with another teacher: {_named(before)} there, {_named(now)} here; move it away to "
                "train it anew"
            )
        return True


def _hash_of(teacher: dict[str, Any] | None) -> Any:
    return None if teacher is None else teacher["sha256"]


def _named(teacher: dict[str, Any] | None) -> str:
    return "none" if teacher is None else f"{teacher['id']} ({teacher['sha256'][:8]})"
