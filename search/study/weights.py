"""The trained weights of a run's networks, from which others begin: stored under their hash, verified when read."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from optuna.artifacts.exceptions import ArtifactNotFound
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.start import LostWeights, Trained
from boostformer.weights.tensors import check_tensors
from results.run import read_run
from results.trial import Trial
from search.study.stores import Say, Store, store_of

WEIGHTS = "weights"
"""Folder of the run in which they lie."""
_SUFFIX = ".safetensors"


class Weights:
    """A run's stored weights, each under the SHA-256 of its content. OSError when the disk is full."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def of(cls, run_dir: Path | str, say: Say | None = None) -> Weights:
        """Open those of a run, wherever it keeps them; with ``say`` a place that is away is waited for.

        Raises :class:`UserError` as :func:`search.study.stores.store_of` does.
        """
        return cls(store_of(Path(run_dir), WEIGHTS, say))

    def keep(self, weights: Mapping[str, Tensor]) -> str:
        """Store weights on the disk; give their digest."""
        content = save({name: value.contiguous() for name, value in weights.items()})
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self:
            self._store.write(digest + _SUFFIX, io.BytesIO(content))
        return digest

    def __contains__(self, digest: str) -> bool:
        """Tell whether weights are there, whole or not."""
        try:
            with self._store.open_reader(digest + _SUFFIX):
                return True
        except (ArtifactNotFound, OSError):
            return False

    def read(self, digest: str) -> dict[str, Tensor]:
        """Give weights by name; :class:`LostWeights` when they are gone or damaged, which are removed."""
        content = self._content(digest)
        with suppress(SafetensorError, ValueError, UserError):
            if hashlib.sha256(content).hexdigest() == digest:
                return check_tensors(load(content), Path(digest + _SUFFIX))
        self.remove(digest)
        raise LostWeights(f"weights {digest[:12]} are damaged")

    def whole(self, digest: str) -> bytes | None:
        """Give the file of stored weights; None when they are gone. :class:`LostWeights` when they are damaged."""
        try:
            content = self._content(digest)
        except LostWeights:
            return None
        if hashlib.sha256(content).hexdigest() != digest:
            raise LostWeights(f"weights {digest[:12]} are damaged")
        return content

    def _content(self, digest: str) -> bytes:
        try:
            with self._store.open_reader(digest + _SUFFIX) as stream:
                return stream.read()
        except (ArtifactNotFound, OSError):
            raise LostWeights(f"weights {digest[:12]} are gone") from None

    def take(self, digest: str, other: Weights) -> bool:
        """Store a copy of weights of another run, which stay there; False when that has them no more, or damaged."""
        if digest in self:
            return True
        try:
            content = other.whole(digest)
        except LostWeights:
            return False
        if content is None:
            return False
        self._store.write(digest + _SUFFIX, io.BytesIO(content))
        return True

    def remove(self, digest: str) -> None:
        """Remove weights, if they are there."""
        with suppress(ArtifactNotFound, OSError):  # another worker was faster, or the folder is read-only now
            self._store.remove(digest + _SUFFIX)

    def digests(self) -> set[str]:
        """List all that are stored."""
        return {name.removesuffix(_SUFFIX) for name in self._store.names() if name.endswith(_SUFFIX)}


def weights_of(run_dir: Path | str, trial: Trial) -> Trained:
    """Read the trained weights of a finished trial; :class:`UserError` when the run does not keep them (any more).

    They are the network's at the end of this very training, for the run's classes and at its size.
    """
    where = f"{run_dir}: trial {trial.number}"
    if trial.weights is None:
        raise UserError(f"{where}: its trained weights were not kept; a search with `inherit: always` keeps them")
    try:
        weights = Weights.of(run_dir).read(trial.weights)
    except LostWeights as error:
        raise UserError(f"{where}: its {error}; those of the front are kept, train it from scratch otherwise") from None
    labels = list(read_run(run_dir).config["labels"])
    architecture = Architecture.from_dict(trial.architecture, where)
    return Trained(f"{run_dir}:{trial.number}", trial.weights, weights, labels, architecture)
