"""Belongings of a training beside weights and optimiser, and takes up again when it is resumed."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from accelerate import Accelerator

from boostformer.training.averaging import Scored
from boostformer.training.failures import LossWatch
from boostformer.training.loading import Pace, peak_memory
from boostformer.training.log import Standing
from boostformer.training.recipes import Recipe
from boostformer.training.state import ResumableState
from boostformer.training.validation import Validation


@dataclass
class Course:
    """The course of a training.

    Attributes:
        watch: over the loss.
        scored: the network that is scored and saved, where that is not simply the trained one.
        validation: the scores on the way.
        iteration: how many are done.
        threads: CPU threads that it computes with; None before they are chosen, and on an accelerator.
    """

    watch: LossWatch
    scored: Scored | None
    validation: Validation | None
    iteration: int = 0
    threads: int | None = None

    @property
    def over(self) -> bool:
        """Tell whether it ends early, since validations find nothing better."""
        return self.validation is not None and self.validation.over

    def advance(self) -> int:
        """Take note of one more iteration, and give how many are done."""
        self.iteration += 1
        if self.scored is not None:
            self.scored.update(self.iteration)
        return self.iteration

    def validate(self, accelerator: Accelerator) -> None:
        """Score the network as it is now."""
        assert self.scored is not None and self.validation is not None
        self.validation.score(self.iteration, self.scored.network(), accelerator)

    def standing(self, recipe: Recipe, pace: Pace, device: torch.device, validated: bool) -> Standing:
        """Describe how the training stands, for a log."""
        latest = self.validation.latest if self.validation is not None else None
        return Standing(
            iteration=self.iteration,
            iterations=recipe.iterations,
            loss=self.watch.mean,
            lr=recipe.lr * recipe.lr_factor(self.iteration - 1),
            images_per_second=pace.images_per_second,
            waiting=pace.waiting,
            memory=peak_memory(device),
            scored=latest if validated else None,
            latest=latest,
            best=self.validation.best if self.validation is not None else None,
        )

    def load(self, state: ResumableState) -> None:
        """Take up the newest state, if there is one."""
        saved, tensors = state.load()
        if not saved:
            return
        self.iteration, self.threads, self.watch = saved["iteration"], saved["threads"], LossWatch(**saved["watch"])
        if self.scored is not None:
            self.scored.restore(tensors.get("average", {}))
        if self.validation is not None and saved["validation"] is not None:
            self.validation.restore(saved["validation"], tensors.get("best", {}))

    def save(self, state: ResumableState) -> None:
        """Save all of it, and weights and optimiser."""
        plain = {"iteration": self.iteration, "watch": asdict(self.watch), "threads": self.threads}
        plain["validation"] = self.validation.state() if self.validation is not None else None
        tensors = {
            "average": self.scored.tensors() if self.scored is not None else {},
            "best": self.validation.weights if self.validation is not None else {},
        }
        state.save(self.iteration, plain, {name: values for name, values in tensors.items() if values})
