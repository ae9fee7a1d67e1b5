"""The launchers by their names: a new engine is one more line here."""

from __future__ import annotations

from importlib import import_module

from boostformer.errors import UserError, nearest
from search.worker.launchers.launcher import Launcher
from search.worker.launchers.order import Order, read_options

LAUNCHERS = {
    "local": "search.worker.launchers.local:Local",
    "slurm": "search.worker.launchers.slurm:Slurm",
    "kubernetes": "search.worker.launchers.kubernetes:Kubernetes",
    "ray": "search.worker.launchers.ray:Ray",
    "nni": "search.worker.launchers.nni.launcher:Nni",
}
"""Name of each engine, and its class as ``module:Class``, which is imported when it is asked for."""


def launcher_class(engine: str) -> type[Launcher]:
    """Return the launcher of an engine; :class:`UserError` when there is none of that name."""
    if engine not in LAUNCHERS:
        raise UserError(f"--on {engine}: no such engine; {nearest(engine, LAUNCHERS)}")
    module, _, name = LAUNCHERS[engine].partition(":")
    found: type[Launcher] = getattr(import_module(module), name)
    return found


def open_launcher(engine: str, order: Order) -> Launcher:
    """Open an engine for an order; :class:`UserError` when it cannot carry it out."""
    made = launcher_class(engine)
    if order.training is not None:
        _check_training(engine, order, made)
    if order.workers.is_range and not made.scales:
        raise UserError(f"--workers {order.workers}: --on {engine} takes a number of workers, not a range")
    if order.workers.is_range and order.workers.least > 1 and not made.gathers:
        raise UserError(
            f"--workers {order.workers}: --on {engine} starts each worker as soon as there is room for it; allowed: "
            f"1:{order.workers.most}, or a number"
        )
    if order.needs.gpus > 1:
        raise UserError(f"--gpus {order.needs.gpus:g}: a worker trains on one GPU; allowed: 0 to 1, and more --workers")
    return made(order, read_options(made.options, engine, order.options))


def _check_training(engine: str, order: Order, made: type[Launcher]) -> None:
    if not made.trains:
        able = ", ".join(name for name in LAUNCHERS if launcher_class(name).trains)
        raise UserError(f"--train: --on {engine} starts no training of several processes; allowed: {able}")
    if order.workers.is_range:
        raise UserError(f"--workers {order.workers}: a training has a number of processes, not a range")
    if order.data is not None:
        raise UserError(f"--data '{order.data}': is for workers of a search; for --train write it behind --")
    if order.needs.gpus not in (0, 1):
        raise UserError(f"--gpus {order.needs.gpus:g}: a process of a training has a whole GPU or none; allowed: 0, 1")
