"""`StoredTrials`: the trials of a run in its storage, as one worker reads and writes them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from results.schema import end_attribute, frozen_trial, key_of, owner_of, stored_values
from results.trial import Status, Trial, TrialKey


@dataclass
class StoredTrials:
    """A run's trials. One that another worker has ended, having taken it over, stays as it is.

    Attributes:
        storage: of the study; the storage alone, since a study would only add a sampler, which is never asked.
        study_id: Optuna's number of the study.
        objectives: names.
        token: the worker's name.
    """

    storage: BaseStorage
    study_id: int
    objectives: tuple[str, ...]
    token: str

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

    def create(self, trial: Trial) -> int:
        """Store a new trial; give Optuna's number of it."""
        return self.storage.create_new_trial(self.study_id, frozen_trial(trial, self.objectives))

    def tell(self, trial_id: int, name: str, values: dict[str, Any]) -> None:
        """Store an attribute of a running trial."""
        with suppress(UpdateFinishedTrialError):
            self.storage.set_trial_user_attr(trial_id, name, values)

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
