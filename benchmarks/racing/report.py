"""Tables, tests and curves of a race."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from racing.contestants import PEERS
from racing.fronts import Front
from racing.landscape import Landscape
from racing.records import Result
from racing.significance import Comparison, compare

AFTER = (25, 50, 100, 150, 200)
HALF, FULL = 100, 200
"""What is compared: our strategy after HALF or FULL evaluations, peers after FULL (or as many as they had)."""


class Report:
    """The results on one landscape; hypervolumes relative to the true front's."""

    def __init__(self, landscape: Landscape, front: Front, results: Sequence[Result], default: str) -> None:
        self.landscape, self.front, self.default = landscape, front, default
        self.by_method: dict[str, list[Result]] = defaultdict(list)
        for result in results:
            if result.landscape == landscape.name:
                self.by_method[result.method].append(result)

    def values(self, method: str, evaluations: int) -> list[float]:
        """Of each seed, relative; none when the races of this contestant were shorter."""
        results = self.by_method.get(method, [])
        if any(evaluations not in result.checkpoints for result in results):
            return []
        return [result.after(evaluations) / self.front.hypervolume for result in results]

    def longest(self, method: str, evaluations: int) -> int:
        """``evaluations``, or what this contestant had if that is less."""
        return min([evaluations, *(result.checkpoints[-1] for result in self.by_method[method])])

    def comparisons(self, ours: int, theirs: int) -> dict[str, Comparison]:
        """The default strategy after ``ours`` evaluations against every peer after ``theirs``."""
        one = self.values(self.default, ours)
        others = {
            f"{peer}@{self.longest(peer, theirs)}": self.values(peer, self.longest(peer, theirs))
            for peer in PEERS
            if peer in self.by_method
        }
        return compare(one, others) if one and others else {}

    def best_peer(self, evaluations: int) -> str | None:
        means = {peer: np.mean(values) for peer in PEERS if (values := self.values(peer, evaluations))}
        return max(means, key=lambda peer: means[peer]) if means else None

    def table(self) -> Table:
        name, objectives = self.landscape.name, ", ".join(self.landscape.objectives)
        title = f"{name} ({objectives}): hypervolume / true front, mean±sd over seeds; ms a proposal"
        table = Table(title=title, box=SIMPLE)
        table.add_column("method", no_wrap=True)
        table.add_column("seeds", justify="right")
        for evaluations in AFTER:
            table.add_column(f"@{evaluations}", justify="right", no_wrap=True)
        table.add_column("wall", justify="right")
        table.add_column("cpu", justify="right")
        at = {method: self.values(method, self.longest(method, FULL)) for method in self.by_method}
        for method in sorted(self.by_method, key=lambda method: -np.mean(at[method])):
            results = self.by_method[method]
            cells = [_mean(self.values(method, evaluations)) for evaluations in AFTER]
            times = [f"{np.mean([getattr(r, kind) for r in results]):.0f}" for kind in ("wall_ms", "cpu_ms")]
            early = sum(result.trained < result.evaluations for result in results)
            note = f" ({early} gave up early)" if early else ""
            table.add_row(method + note, str(len(results)), *cells, *times)
        return table

    def lines(self) -> list[str]:
        """The comparisons in words."""
        found = []
        for ours, theirs in ((HALF, HALF), (FULL, FULL), (HALF, FULL)):
            comparisons = self.comparisons(ours, theirs)
            if comparisons:
                found.append(f"{self.default}@{ours} against")
            for name, c in comparisons.items():
                best = " (the best peer)" if name.split("@")[0] == self.best_peer(theirs) else ""
                found.append(f"  {name}{best}: ratio {c.ratio:.3f}, A12 {c.a12:.2f}, p {c.p:.1e}: {c.verdict}")
        return found

    def to_dict(self) -> dict[str, Any]:
        def summary(method: str) -> dict[str, Any]:
            results = self.by_method[method]
            common = sorted(set.intersection(*(set(result.checkpoints) for result in results)))
            curves = np.array([self.values(method, n) for n in common])
            return {
                "seeds": len(results),
                "evaluations": common,
                "mean": curves.mean(axis=1).round(5).tolist(),
                "sd": curves.std(axis=1, ddof=1).round(5).tolist() if len(results) > 1 else None,
                "wall_ms": round(float(np.mean([result.wall_ms for result in results])), 2),
                "cpu_ms": round(float(np.mean([result.cpu_ms for result in results])), 2),
                "gave_up_early": sum(result.trained < result.evaluations for result in results),
            }

        return {
            "objectives": list(self.landscape.objectives),
            "reference_point": list(self.landscape.worst),
            "scale": list(self.landscape.best),
            "front": vars(self.front),
            "methods": {method: summary(method) for method in sorted(self.by_method)},
            "comparisons": {
                f"{self.default}@{ours} against peers@{theirs}": {
                    name: vars(c) | {"verdict": c.verdict} for name, c in self.comparisons(ours, theirs).items()
                }
                for ours, theirs in ((HALF, HALF), (FULL, FULL), (HALF, FULL))
            },
        }

    def draw(self, file: Path) -> None:
        """The anytime curves with a band of one standard error."""
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
        for number, (method, summary) in enumerate(self.to_dict()["methods"].items()):
            evaluations, mean = summary["evaluations"], np.array(summary["mean"])
            error = np.array(summary["sd"] or 0.0) / np.sqrt(summary["seeds"])
            colour, line = f"C{number % 10}", "-" if method.startswith("ours") else "--"
            width = 2.5 if method == self.default else 1.2
            axes.plot(evaluations, mean, label=method, color=colour, linestyle=line, linewidth=width)
            axes.fill_between(evaluations, mean - error, mean + error, color=colour, alpha=0.15, linewidth=0)
        axes.set(xlabel="networks trained", ylabel="hypervolume / true front", title=f"{self.landscape.name}")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        figure.savefig(file, dpi=120)
        plt.close(figure)


def _mean(values: Sequence[float]) -> str:
    if not values:
        return "-"
    spread = f"±{np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def show(reports: Sequence[Report], console: Console) -> None:
    for report in reports:
        console.print(report.table())
        for line in report.lines():
            console.print(line, highlight=False, soft_wrap=True)


def write(reports: Sequence[Report], folder: Path, about: dict[str, Any]) -> None:
    """``race.json`` with all figures, and a picture of the curves for each landscape."""
    folder.mkdir(parents=True, exist_ok=True)
    for report in reports:
        report.draw(folder / f"{report.landscape.name}.png")
    found = about | {"landscapes": {report.landscape.name: report.to_dict() for report in reports}}
    (folder / "race.json").write_text(json.dumps(found, indent=1) + "\n")
