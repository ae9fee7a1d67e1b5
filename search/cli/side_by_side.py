"""Networks side by side: their scores, costs and latencies as a table, a document, and for publications."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostformer.errors import UserError
from boostformer.shown import number_of
from results.comparison import Entry, Scored, compare, differences, shown
from search.cli.data_argument import data_in, data_of
from search.cli.output import note
from search.cli.scoring import ending_without_result, load, open_images

if TYPE_CHECKING:
    from boostformer.data.config import DataConfig
    from boostformer.figures import Latency
    from boostformer.weights.checkpoint import Config


@dataclass(frozen=True)
class Comparison:
    """Networks beside one that reductions are relative to.

    Attributes:
        entries: the networks.
        baseline: the name of that one.
        latencies: of one provenance, by the networks' names, where they are known.
        scores: how scores were had: "stored" or "evaluated".
        split: what they are of: training, validation or test.
    """

    entries: list[Entry]
    baseline: str
    latencies: dict[str, Latency]
    scores: str
    split: str

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each network with the keys ``results.comparison.COLUMNS``."""
        entries = [replace(entry, latency=self.latencies.get(entry.name)) for entry in self.entries]
        return compare(entries, self.baseline)

    def shown(self) -> tuple[list[dict[str, str]], list[str]]:
        """Give the cells for people, and their columns."""
        return shown(self.rows)

    @property
    def provenance(self) -> str | None:
        """Say where the latencies come from; None where there are none."""
        return str(next(iter(self.latencies.values())).provenance) if self.latencies else None

    @property
    def caption(self) -> str:
        how = "scored anew" if self.scores == "evaluated" else "scores that the checkpoints keep"
        said = f"{how} ({self.split}); reductions relative to {self.baseline}"
        return said + (f"\nlatency: {self.provenance}" if self.provenance else "")

    def typeset(self, fmt: str) -> str:
        """Write the table as Markdown or LaTeX."""
        from results.publication import typeset

        return typeset(*self.shown(), fmt)

    def document(self) -> dict[str, Any]:
        """Give all that is known, for JSON."""
        return {
            "baseline": self.baseline,
            "scores": self.scores,
            "split": self.split,
            "differences": differences(self.entries),
            "latency_provenance": self.provenance,
            "networks": [
                row | {"checkpoints": [_checkpoint(score) for score in entry.scores]}
                for row, entry in zip(self.rows, self.entries, strict=True)
            ],
        }


def _checkpoint(score: Scored) -> dict[str, Any]:
    return {"checkpoint": score.checkpoint, "miou": score.miou, "accuracy": score.accuracy, **score.basis}


def stored(folder: Path, config: Config, split: str) -> Scored:
    """Read the scores that a checkpoint keeps."""
    metrics, data = config.provenance.get("metrics"), data_in(config.provenance)
    if not isinstance(metrics, dict) or metrics.get("split") != split:
        raise UserError(f"{folder}: keeps no scores of its {split} part; --evaluate scores it")
    content = config.provenance.get("content")
    basis = {
        "data": content.get(split) if isinstance(content, dict) else None,
        "split": split,
        "size": list(data.size) if data else None,
        "fit": _fit(data) if data else None,
        "classes": config.architecture.classes,
    }
    try:
        return Scored(str(folder), float(metrics["miou"]), float(metrics["accuracy"]), basis)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder}: its scores cannot be read ({error}); --evaluate scores it") from None


def own_data(folder: Path, data: str | None) -> DataConfig:
    """Choose the data to score a checkpoint on: those that ``--data`` names, or its own."""
    from boostformer.weights import checkpoint

    config = checkpoint.read_config(folder)
    return data_of(data, None, data_in(config.provenance), config.architecture.size)


def evaluated(folder: Path, data: DataConfig, split: str) -> Scored:
    """Score a checkpoint now; UserError when the data are not of its classes."""
    from boostformer.training import evaluate
    from boostformer.training.devices import computing

    model, place = load(folder, "auto", "fp32")
    images, content = open_images(model, folder, data, split)
    note(f"scoring {folder} on {number_of(len(images), 'image')} …")
    with computing(place), ending_without_result():
        metrics = evaluate(model, images, size=data.size)
    basis = {
        "data": content(),
        "split": split,
        "size": list(data.size),
        "fit": _fit(data),
        "classes": model.architecture.classes,
    }
    return Scored(str(folder), metrics.miou, metrics.accuracy, basis)


def _fit(data: DataConfig) -> str:
    return f"tile, overlap {data.overlap:g}" if data.fit == "tile" else data.fit


def entry_of(name: str, configs: list[Config], scores: list[Scored]) -> Entry:
    from evaluators.costs.table import CostTable

    network = configs[0].architecture
    trained, deployed = CostTable(deployed=False).cost(network), CostTable().cost(network)
    return Entry(name, network.id, trained.params, deployed.params, deployed.macs, scores)


def latencies(configs: dict[str, Config], device: str | None) -> dict[str, Latency]:
    """Give latencies by the networks' names: on a device, or as the checkpoints keep them, of one provenance alone."""
    if device is not None:
        from evaluators.latency.devices import find
        from search.cli.device import reachable

        entry = find(device)
        with reachable():
            backend = entry.open()
            return {
                name: backend.latency(config.architecture, labels=False, builds=1, say=note)
                for name, config in configs.items()
            }
    kept = {name: found for name, config in configs.items() if (found := _kept(name, config)) is not None}
    if len({str(found.provenance) for found in kept.values()}) > 1:
        told = "; ".join(f"{name}: {found.provenance}" for name, found in kept.items())
        note(f"latencies are left out, since they are of different provenance: {told}; --device NAME gives all on one")
        return {}
    return kept


def _kept(name: str, config: Config) -> Latency | None:
    from boostformer.figures import Latency

    searched = config.provenance.get("searched") or {}
    try:
        found = searched.get("final") or searched.get("latency")
        return None if found is None else Latency.from_dict(found)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{name}: the latency in its checkpoint's provenance cannot be read: {error}") from None
