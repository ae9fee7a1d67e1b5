"""Commands that look at what there is: ``profile``, ``space``, ``blocks``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from results.tables import Format
from search.commands.output import FormatOption, emit
from search.data_argument import size_of

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
    """Exact parameters and MACs of an architecture, in all and by stage."""
    from boostformer.model import parts
    from evaluators.cost_table import CostTable
    from evaluators.counting import Cost
    from search.arch_argument import read_architecture

    architecture = read_architecture(arch).replace(classes=classes, size=size_of(size))
    table = CostTable()
    sections: dict[str, Cost] = {}
    rows = []
    for name, part, times in parts(architecture):
        cost = table.part(part).times(times)
        section = name.rpartition(".")[0]
        sections[section] = sections.get(section, Cost(0, 0, 0)) + cost
        rows.append({"part": name, "block": part.spec.name, "times": times, **_figures(cost)})
    total = table.cost(architecture)
    rows.append({"part": "total", "block": "", "times": 1, **_figures(total)})
    document = {
        "id": architecture.id,
        "size": list(architecture.size),
        "classes": architecture.classes,
        **_figures(total),
        "stages": [{"part": name, **_figures(cost)} for name, cost in sections.items()],
        "provenance": "counted: fvcore on the meta device, batch 1, one MAC per multiply-add",
        "architecture": architecture.to_dict(),
    }
    height, width = architecture.size
    caption = f"{arch} ({architecture.id}) at {height}x{width}, {architecture.classes} classes, batch 1"
    emit(fmt, document, rows, caption=caption)


def _figures(cost: Any) -> dict[str, int]:
    known = asdict(cost)
    return {"params": known.pop("params"), "macs": cost.macs, **known}


def space(
    name: Annotated[str, typer.Argument(metavar="SPACE", help="A shipped space's name, or a file.")],
    run_file: Annotated[Path | None, typer.Option("--run", help="A run file: use its size, classes, budget.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Networks drawn to estimate the share within budget.")] = 100_000,
    fmt: FormatOption = Format.table,
) -> None:
    """What a space holds: its choices, the number of networks, and their range of cost."""
    import numpy as np

    from evaluators.cost_table import CostTable, PopulationCosts
    from search_space import read_space, slot_indices

    found = read_space(name)
    budget: dict[str, int] = {}
    if run_file is not None:
        from search.plan import Plan

        plan, _, _ = Plan.read(run_file)
        found, budget = found.replace(size=plan.space.size, classes=plan.space.classes), plan.budget.to_dict()
    costs = PopulationCosts(CostTable(), found.slots, found.size, found.classes)
    drawn = costs.costs(slot_indices(found, found.sample_genes(np.random.default_rng(0), samples)))
    figures = {"params": drawn[:, 0], "macs": drawn[:, 1] + drawn[:, 2]}
    quantiles = {key: np.quantile(v, [0, 0.5, 1]).astype(int).tolist() for key, v in figures.items()}
    document: dict[str, Any] = {
        "space": name,
        "size": list(found.size),
        "classes": found.classes,
        "networks": found.count,
        "samples": samples,
        **{f"{key}_min_median_max": value for key, value in quantiles.items()},
        "choices": {choice.name: list(choice.values) for choice in found.choices},
    }
    height, width = found.size
    lines = [f"{name}: {found.count:,} networks at {height}x{width}, {found.classes} classes"]
    for key, (low, middle, high) in quantiles.items():
        lines.append(f"{key} of {samples:,} networks drawn: from {low:,} by {middle:,} (median) to {high:,}")
    if budget:
        inside = np.all([figures[key] <= limit for key, limit in budget.items()], axis=0)
        document |= {"budget": budget, "share_within_budget": float(inside.mean())}
        lines.append(f"within {budget}: {inside.mean():.1%} of those drawn")
    rows = [{"choice": key, "values": ", ".join(map(str, v))} for key, v in document["choices"].items()]
    emit(fmt, document, rows, caption="\n".join(lines))


def blocks(fmt: FormatOption = Format.table) -> None:
    """The registered blocks, with what may be chosen for each."""
    import boostformer.blocks  # noqa: F401  (registers them)
    from boostformer.blocks import registry

    found = registry.declarations()
    document = [
        {
            "kind": item.kind,
            "block": item.name,
            "knobs": {k.name: {"default": k.default, "allowed": list(k.allowed)} for k in item.knobs.values()},
            "source": item.source,
            "summary": item.doc,
        }
        for item in found
    ]
    rows = [
        {
            "kind": item.kind,
            "block": item.name,
            "knobs": "; ".join(f"{k.name} {'/'.join(map(str, k.allowed))}" for k in item.knobs.values()),
            "source": item.source,
            "summary": item.doc,
        }
        for item in found
    ]
    emit(fmt, document, rows)
