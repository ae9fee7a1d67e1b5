"""Commands that inspect architectures, spaces and blocks: ``profile``, ``space``, ``blocks``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boostformer.errors import UserError
from boostformer.shown import number_of
from results.tables import Format
from search.cli.data_argument import size_of
from search.cli.output import FormatOption, busy, emit, latency_of, next_step, note

if TYPE_CHECKING:
    from evaluators.costs.counting import Cost
    from evaluators.latency.backend import Measured

SizeOption = Annotated[str | None, typer.Option("--size", help="Input size HxW; by default the architecture's.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the program."""
    app.command()(profile)
    app.command()(space)
    app.command()(blocks)


def profile(
    arch: Annotated[str, typer.Argument(help="Preset, architecture file, checkpoint folder or RUN_DIR:TRIAL.")],
    size: SizeOption = None,
    classes: Annotated[int | None, typer.Option(min=1, help="Number of classes.")] = None,
    fmt: FormatOption = Format.table,
) -> None:
    """Count the exact parameters and MACs of an architecture, in all and by stage."""
    document, rows, caption = _profiled(arch, size, classes)
    drop = ("attention_macs", "conv_linear_macs", "times", "deployed_params", "block")
    emit(fmt, document, rows, caption=caption, drop=drop)
    next_step(latency_of("estimate", arch, size, classes, device="all"), fmt=fmt)


@busy("counting …")
def _profiled(arch: str, size: str | None, classes: int | None) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """Count an architecture: the document, the rows of a table and its caption."""
    from boostformer.parts import parts
    from evaluators.costs.counting import Cost
    from evaluators.costs.memory import Peaks
    from evaluators.costs.table import CostTable
    from results.trial import megabytes, weights_mb
    from search.cli.arch_argument import at_size, read_architecture

    architecture = at_size(read_architecture(arch).replace(classes=classes), size_of(size))
    nothing, tables = Cost(0, 0, 0), {"trained": CostTable(deployed=False), "deployed": CostTable()}
    by_part: dict[str, dict[str, Cost]] = {}
    by_section: dict[str, dict[str, Cost]] = {}
    about: dict[str, dict[str, Any]] = {}
    for form, table in tables.items():
        for name, part, times in parts(architecture, table.deployed):
            about.setdefault(name, {"part": name, "block": part.spec.name, "times": times})
            for costs in (
                by_part.setdefault(name, dict.fromkeys(tables, nothing)),
                by_section.setdefault(name.rpartition(".")[0], dict.fromkeys(tables, nothing)),
            ):
                costs[form] += table.part(part) * times
    total = {form: table.cost(architecture) for form, table in tables.items()}
    rows = [about[name] | _side_by_side(costs) for name, costs in by_part.items()]
    memory = {
        form: {
            "weights_mb": weights_mb(total[form].params),
            "activations_mb": megabytes(Peaks(deployed=table.deployed).peak(architecture)),
        }
        for form, table in tables.items()
    }
    rows.append({"part": "total", "block": "", "times": 1} | _side_by_side(total))
    document = {
        "id": architecture.id,
        "size": list(architecture.size),
        "classes": architecture.classes,
        **_nested(total),
        "memory": memory,
        "stages": [{"part": name, **_nested(costs)} for name, costs in by_section.items()],
        "provenance": "counted from shapes, batch 1, one MAC per multiply-add; the tests check the counts with fvcore; "
        "deployed: after folding",
        "architecture": architecture.to_dict(),
    }
    height, width = architecture.size
    caption = f"{arch} ({architecture.id}) at {height}x{width}, {number_of(architecture.classes, 'class')}, batch 1"
    fp32 = memory["deployed"]
    caption += (
        f"\ndeployed, in fp32: {fp32['weights_mb']:.3f} MB of weights, {fp32['activations_mb']:.3f} MB of activations"
    )
    return document, rows, caption


def _figures(cost: Cost) -> dict[str, int]:
    known = asdict(cost)
    return {"params": known.pop("params"), "macs": cost.macs, **known}


def _nested(costs: dict[str, Cost]) -> dict[str, Any]:
    return {**_figures(costs["trained"]), "deployed": _figures(costs["deployed"])}


def _side_by_side(costs: dict[str, Cost]) -> dict[str, int]:
    deployed = costs["deployed"]
    return {**_figures(costs["trained"]), "deployed_params": deployed.params, "deployed_macs": deployed.macs}


def space(
    name: Annotated[str, typer.Argument(metavar="SPACE", help="A shipped space's name, or a file.")],
    run_file: Annotated[Path | None, typer.Option("--run", help="A run file: use its size, classes, budget.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Networks drawn to estimate the share within budget.")] = 100_000,
    fmt: FormatOption = Format.table,
) -> None:
    """Show what a space holds: its choices, the number of networks, and their range of cost."""
    import numpy as np

    from evaluators.costs.counting import Cost
    from evaluators.costs.memory import PeakPopulation, Peaks
    from evaluators.costs.populations import Population
    from evaluators.costs.table import CostTable
    from results.summary import limits
    from results.trial import COSTS, COUNTED, megabytes, weights_mb
    from search_space import read_space, slot_indices

    found = read_space(name)
    budget: dict[str, float] = {}
    table, latency = CostTable(), None
    if run_file is not None:
        from evaluators.latency.devices import use_beside
        from search.config.opening import resolve

        use_beside(run_file)
        opened, _ = resolve(run_file)
        experiment = opened.experiment
        found = found.replace(
            size=experiment.space.size, classes=experiment.space.classes, bands=experiment.space.bands
        )
        budget, table, latency = dict(experiment.budgets), opened.table, opened.problem.latency
    counted = "deployed" if table.deployed else "trained"
    indices = slot_indices(found, found.genes.sample(np.random.default_rng(0), samples))
    drawn = Cost(*Population(table, found.slots, found.size, found.classes, found.bands).figures(indices).T)
    figures: dict[str, Any] = {key: getattr(drawn, key) for key in COSTS if key in COUNTED}
    quantiles = {key: np.quantile(v, [0, 0.5, 1]).astype(int).tolist() for key, v in figures.items()}
    if "weights_mb" in budget:
        figures["weights_mb"] = weights_mb(drawn.params)
    if "activations_mb" in budget:
        peaks = PeakPopulation(Peaks(deployed=table.deployed), found.slots, found.size, found.classes, found.bands)
        figures["activations_mb"] = megabytes(peaks.figures(indices)[:, 0])
    for key in figures.keys() - quantiles.keys():
        quantiles[key] = np.quantile(figures[key], [0, 0.5, 1]).round(3).tolist()
    if latency is not None:
        times = Population(latency, found.slots, found.size, found.classes, found.bands).figures(indices)[:, 0]
        figures["latency_ms"] = times + latency.overhead_ms
        quantiles["latency_ms"] = np.quantile(figures["latency_ms"], [0, 0.5, 1]).round(3).tolist()
    document: dict[str, Any] = {
        "space": name,
        "size": list(found.size),
        "classes": found.classes,
        "networks": found.count,
        "samples": samples,
        "counted": counted,
        **{f"{key}_min_median_max": value for key, value in quantiles.items()},
        "choices": {choice.name: list(choice.values) for choice in found.choices},
    }
    height, width = found.size
    lines = [
        f"{name}: {number_of(found.count, 'network', ',')} at {height}x{width}, {number_of(found.classes, 'class')}"
    ]
    for key, (low, middle, high) in quantiles.items():
        lines.append(f"{key} ({counted}) of {samples:,} networks drawn: from {low:,} to {high:,}, median {middle:,}")
    if unknown := set(budget) - set(figures):
        lines.append(f"{', '.join(unknown)}: measured of each network when it is tried, so not in the share below")
        budget = {key: limit for key, limit in budget.items() if key in figures}
    if budget:
        inside = int(np.all([figures[key] <= limit for key, limit in budget.items()], axis=0).sum())
        low, high = _wilson(inside, samples)
        document |= {
            "budget": budget,
            "share_within_budget": inside / samples,
            "share_within_budget_95": [low, high],
        }
        between = f", so {low:.2%} to {high:.2%} of the draws of a search (95 % interval)" if inside < samples else ""
        share = f"{inside:,} of {samples:,}" if inside < samples else "all that were drawn"
        lines.append(f"within {limits(budget)} ({counted}): {share}{between}")
        idle = [key for key, limit in budget.items() if max(figures[key]) <= limit]
        if idle:
            lines.append(f"exclude nothing that was drawn: the budgets of {', '.join(idle)}")
    rows = [{"choice": key, "values": ", ".join(map(str, v))} for key, v in document["choices"].items()]
    emit(fmt, document, rows, caption="\n".join(lines))
    next_step("boostformer init DATA --out run.yaml", "boostformer search run.yaml --out runs/first", fmt=fmt)


def _wilson(hits: int, draws: int, z: float = 1.96) -> tuple[float, float]:
    """Compute Wilson's interval of a share, which holds also near 0 and 1, where the usual one does not."""
    share, spread = hits / draws, z * z / draws
    middle = (share + spread / 2) / (1 + spread)
    half = z * (share * (1 - share) / draws + spread / draws / 4) ** 0.5 / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def blocks(
    latency: Annotated[
        bool,
        typer.Option("--latency", help="Milliseconds, too: measured here the first time, for a minute."),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="With --latency: measure again, also where milliseconds are kept.")
    ] = False,
    fmt: FormatOption = Format.table,
) -> None:
    """List the registered blocks: what may be chosen for each, and what it costs with its defaults at one shape."""
    if fresh and not latency:
        raise UserError("--fresh: is for --latency, which measures")
    from boostformer.blocks import registry
    from evaluators.block_costs import METER, REFERENCE, block_costs
    from search.cli.device import reachable

    def progress(name: str) -> None:
        note(f"measuring {name} …")

    found = registry.declarations()
    with reachable():
        costs = block_costs(progress if latency else None, fresh=fresh)
    document = [
        {
            "kind": item.kind,
            "block": item.name,
            "options": {k.name: {"default": k.default, "allowed": list(k.allowed)} for k in item.options.values()},
            "source": item.source,
            "summary": item.doc,
            "reference": REFERENCE,
            **_figures(cost.trained),
            "deployed": _figures(cost.deployed),
            "latency": cost.latency and _latency(cost.latency) | {"provenance": str(METER.provenance())},
        }
        for item, cost in zip(found, costs, strict=True)
    ]
    rows = [
        {
            "kind": item.kind,
            "block": item.name,
            "options": "; ".join(f"{k.name} {'/'.join(map(_as_written, k.allowed))}" for k in item.options.values()),
            "params": cost.trained.params,
            "macs": cost.trained.macs,
            "deployed_params": cost.deployed.params,
            "deployed_macs": cost.deployed.macs,
            **({"ms": cost.latency and cost.latency.ms} if latency else {}),
            "source": item.source,
        }
        for item, cost in zip(found, costs, strict=True)
    ]
    caption = f"defaults at {REFERENCE}" + (f"\nms: {METER.provenance()}" if latency else "")
    drop = ("source", "deployed_params", "deployed_macs", "macs")
    emit(fmt, document, rows, caption=caption, drop=drop)
    next_step("boostformer space boostformer_b0", fmt=fmt)


def _as_written(value: Any) -> str:
    """Write a value as YAML has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _latency(measured: Measured) -> dict[str, Any]:
    figure = measured.figure
    figures = {"median_ms": figure.ms, "low_ms": figure.low, "high_ms": figure.high}
    return {**figures, "runs": measured.runs, "state": measured.state}
