"""`StoredTrials`: the trials of a run in its storage, as one worker reads and writes them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from results.schema import (
    constraint_attributes,
    end_attribute,
    frozen_trial,
    key_of,
    latency_attribute,
    owner_of,
    score_attribute,
    stored_values,
)
from results.storage.location import Database, Journal
from results.terms import Terms
from results.trial import Status, Trial, TrialKey
from search.config.experiment import Experiment


def terms_of(experiment: Experiment) -> Terms:
    """Put what a search may choose, and its budgets, in Optuna's terms."""
    return Terms({choice.name: choice.values for choice in experiment.space.choices}, experiment.budgets)


@dataclass
class StoredTrials:
    """A run's trials. One that another worker has ended, having taken it over, stays as it is.

    Attributes:
        where: keeps the study.
        storage: of the study; the storage alone, since a study would only add a sampler, which is never asked.
        study_id: Optuna's number of the study.
        objectives: names.
        token: the worker's name.
        terms: what Optuna's tools are told of the trials.
    """

    where: Journal | Database
    storage: BaseStorage
    study_id: int
    objectives: tuple[str, ...]
    token: str
    terms: Terms = field(default_factory=Terms)

    def all(self) -> list[FrozenTrial]:
        return self.storage.get_all_trials(self.study_id, deepcopy=False)

    @property
    def attributes(self) -> dict[str, Any]:
        """What the study says of the run, such as how many networks are to be tried."""
        return self.storage.get_study_user_attrs(self.study_id)

    def note(self, name: str, value: Any) -> None:
        """Store an attribute of the study."""
        self.storage.set_study_user_attr(self.study_id, name, value)

    def are_own(self, frozen: FrozenTrial) -> bool:
        """Tell whether this worker has claimed a trial."""
        return owner_of(frozen) == self.token

    def create(self, trial: Trial, earlier: Mapping[int, float]) -> int:
        """Store a new trial of a network with ``earlier`` mIoU by iterations; give Optuna's number of it."""
        frozen = frozen_trial(trial, self.objectives, self.terms, earlier)
        return self.where.create_trial(self.storage, self.study_id, frozen)

    def tell(self, trial_id: int, name: str, values: dict[str, Any]) -> None:
        """Store an attribute of a running trial."""
        with suppress(UpdateFinishedTrialError):
            self.storage.set_trial_user_attr(trial_id, name, values)

    def tell_score(self, trial_id: int, trial: Trial) -> None:
        """Store the score of a running trial."""
        assert trial.miou is not None and trial.seconds is not None
        score = score_attribute(trial.miou, trial.seconds, trial.provenance, trial.weights, trial.iou)
        self.tell(trial_id, *score)
        with suppress(UpdateFinishedTrialError):
            for step, value in self.terms.intermediate_values(trial).items():
                self.storage.set_trial_intermediate_value(trial_id, step, value)

    def tell_latency(self, trial_id: int, trial: Trial) -> None:
        """Store the latency of a running trial."""
        assert trial.latency is not None
        self.tell(trial_id, *latency_attribute(trial.latency))
        with suppress(UpdateFinishedTrialError):
            for name, value in constraint_attributes(self.terms.constraints(trial), "latency_ms").items():
                self.storage.set_trial_system_attr(trial_id, name, value)

    def end(self, trial_id: int, trial: Trial, seconds: float | None) -> bool:
        """Store a trial's end.

        Args:
            trial_id: Optuna's number of it.
            trial: as it ended.
            seconds: time it took, where that is not told with its score.

        Returns:
            False when it was taken over.
        """
        name, values = end_attribute(trial.status, trial.reason, seconds)
        try:
            if not trial.is_finished:
                self.storage.set_trial_user_attr(trial_id, name, values)
            self.storage.set_trial_state_values(
                trial_id,
                TrialState.COMPLETE if trial.is_finished else TrialState.FAIL,
                stored_values(trial, self.objectives) if trial.is_finished else None,
            )
        except UpdateFinishedTrialError:
            # Ended perhaps by this worker itself, just before the connection broke.
            found = self.storage.get_trial(trial_id)
            return found.state is TrialState.COMPLETE or name in found.user_attrs
        return True

    def give_back(self, frozen: FrozenTrial) -> None:
        """End a running trial of this worker, to be repeated."""
        self.tell(frozen._trial_id, *end_attribute(Status.INTERRUPTED, "given back"))
        self.interrupt(frozen)

    def interrupt(self, frozen: FrozenTrial) -> None:
        """End a running trial whose worker is dead, to be repeated."""
        with suppress(UpdateFinishedTrialError):
            self.storage.set_trial_state_values(frozen._trial_id, TrialState.FAIL)

    def has_finished(self, key: TrialKey) -> bool:
        """Tell whether the training's finished trial is this worker's."""
        done = [frozen for frozen in self.all() if frozen.state is TrialState.COMPLETE]
        return any(self.are_own(frozen) for frozen in done if key_of(frozen) == key)
