"""A worker that NNI started: NNI's web page shows the curve of its trials, and NNI's stop button works."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from boostformer.errors import UserError
from results.tables import flat
from results.trial import Trial
from search.worker.stopping import stop_after

if TYPE_CHECKING:
    from search.worker.reporting import Reporter

JOB_VARIABLE = "NNI_TRIAL_JOB_ID"


@contextmanager
def shown_by_nni(reporter: Reporter) -> Iterator[Reporter]:
    """Return ``reporter``; in a process that NNI started, one that also reports every trial to NNI.

    NNI stops such a process by Ctrl-C, and the death of the process that started it counts as one. It ends by that
    signal, so that NNI counts it as stopped, not as failed. Raises :class:`UserError` where NNI is not installed.
    """
    if JOB_VARIABLE not in os.environ:
        yield reporter
        return
    try:
        import nni
    except ImportError:
        raise UserError(f"{JOB_VARIABLE} is set, but NNI is not installed here: it comes with the extra nni") from None
    _stop_with_parent()
    telling = NniReporter(reporter, nni)
    try:
        yield cast("Reporter", telling)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        raise
    telling.close()


class NniReporter:
    """A reporter that sends NNI each finished trial, as an intermediate result: mIoU (0…1) and its other numbers.

    At the end the best mIoU is the final result. The study holds everything anyway: where NNI does not answer, that is
    said once, and the search goes on.
    """

    def __init__(self, inner: Reporter, nni: Any) -> None:
        self._inner, self._nni = inner, nni
        self._best: float | None = None
        self._answers = True
        self._tell(nni.get_next_parameter)  # NNI takes no results before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def ended(self, trial: Trial) -> None:
        self._inner.ended(trial)
        if not trial.is_finished or trial.miou is None:
            return
        self._best = max(self._best or 0.0, trial.miou)
        numbers = {name: value for name, value in flat(trial).items() if type(value) in (int, float)}
        self._tell(self._nni.report_intermediate_result, {"default": trial.miou, **numbers})

    def close(self) -> None:
        if self._best is not None:
            self._tell(self._nni.report_final_result, self._best)

    def _tell(self, what: Callable[..., object], *arguments: object) -> None:
        try:
            what(*arguments)
        except OSError as error:  # what requests raises is one
            if self._answers:
                self._inner.says(f"NNI does not answer, its page lacks what follows: {type(error).__name__}: {error}")
            self._answers = False


def _stop_with_parent(seconds: float = 1.0) -> None:
    """Send Ctrl-C to this process as soon as its parent has died."""
    parent = os.getppid()

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)

    stop_after(wait)
