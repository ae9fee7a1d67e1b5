"""Ray as a launcher: each worker is an actor, which Ray places by what it needs and restarts where its node dies.

Of a training one actor stands for all processes.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from boostformer.errors import UserError
from boostformer.shown import one_line
from search.worker.launchers.command import LEASHED, joining, training, variables
from search.worker.launchers.launcher import Fleet, State
from search.worker.launchers.order import Options, Order
from search.worker.launchers.ray_actors import Training, Worker
from search.worker.local import PROGRAM

ANSWERED = 10.0
"""Seconds within which an actor that runs tells its state."""
PATIENCE = 120.0
"""Seconds that workers have to give back their trials before Ray ends them."""


class RayOptions(Options):
    """The options that only Ray knows."""

    address: str = Field("auto", description="of the cluster: HOST:6379, ray://HOST:10001; auto is this machine's")


class Ray:
    """A Ray cluster. Workers beyond its room wait, and its autoscaler sees them."""

    engine: ClassVar[str] = "ray"
    options: ClassVar[type[Options]] = RayOptions
    lasts: ClassVar[bool] = True
    scales: ClassVar[bool] = True
    gathers: ClassVar[bool] = False
    trains: ClassVar[bool] = True

    def __init__(self, order: Order, options: RayOptions) -> None:
        self._order, self._options = order, options
        program = [*PROGRAM[1:], LEASHED]  # each machine's own Python starts it there
        alone = order.training is None
        self._words = joining(order, program, str(order.run_dir)) if alone else training(order, program)

    def _resources(self) -> dict[str, Any]:
        needs = self._order.needs
        found: dict[str, Any] = {"num_cpus": needs.cores or 1, "num_gpus": needs.gpus}
        return found | ({"memory": needs.memory * 2**20} if needs.memory is not None else {})

    def plan(self) -> str:
        count = self._order.workers.most
        described: dict[str, Any] = {"address": self._options.address, "namespace": self._order.name, "workers": count}
        lasting = {"lifetime": "detached", "max_restarts": -1}
        if self._order.training is None:
            described |= {"actors": [str(number) for number in range(count)], "options": self._resources() | lasting}
        else:
            described |= {"actors": ["0"], "options": {"num_cpus": 0} | lasting}
            described |= {"placement": [self._resources()] * count, "environment": variables(self._order)}
            described |= {"folder": str(Path.cwd())}
        return json.dumps(described | {"command": ["python", *self._words]}, indent=2)

    def start(self) -> Fleet:
        ray = self._connected()
        if self._order.training is not None:
            leader = ray.remote(Training).options(
                name="0", lifetime="detached", max_restarts=-1, get_if_exists=True, num_cpus=0
            )
            needed, environment = [self._resources()] * self._order.workers.most, variables(self._order)
            return RayFleet(ray, {0: leader.remote(self._words, needed, environment, str(Path.cwd()))})
        threads = self._order.needs.cores or 1
        remote = ray.remote(Worker)
        actors = {
            number: remote.options(
                name=str(number), lifetime="detached", max_restarts=-1, get_if_exists=True, **self._resources()
            ).remote(self._words, threads)
            for number in range(self._order.workers.most)
        }
        return RayFleet(ray, actors)

    def find(self) -> Fleet | None:
        ray = self._connected()
        names = ray.util.list_named_actors()
        return RayFleet(ray, {int(name): ray.get_actor(name) for name in names}) if names else None

    def _connected(self) -> Any:
        """Connect this process to the cluster, in the order's own namespace; return Ray's module."""
        try:
            import ray
        except ImportError:
            raise UserError("--on ray needs the package ray: pip install 'boostformer[ray]'") from None
        if ray.is_initialized():
            return ray
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            ray.init(
                self._options.address, namespace=self._order.name, log_to_driver=False, logging_level=logging.ERROR
            )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise UserError(
                f"--option address={self._options.address}: no Ray cluster answers there ({one_line(str(error))}); "
                "start one with `ray start --head`"
            ) from None
        return ray


class RayFleet:
    """The actors of one order."""

    pause = 1.0

    def __init__(self, ray: Any, actors: dict[int, Any]) -> None:
        self._ray, self._actors = ray, actors
        self._asked: dict[int, Any] = {}
        self._known: dict[int, tuple[State, str]] = dict.fromkeys(actors, (State.WAITING, ""))
        self.title = f"{len(actors)} actors of Ray in the namespace {ray.get_runtime_context().namespace}"

    def workers(self) -> dict[int, State]:
        for number, actor in self._actors.items():
            if not self._known[number][0].is_over and number not in self._asked:
                self._asked[number] = actor.state.remote()
        refs = list(self._asked.values())
        answered = set(self._ray.wait(refs, num_returns=len(refs), timeout=self.pause)[0]) if refs else set()
        for number, ref in list(self._asked.items()):
            if ref in answered:
                del self._asked[number]
                self._known[number] = self._answer(ref)
            elif self._known[number][0] is State.WORKING:  # its node is gone, or it is being restarted
                self._known[number] = (State.WAITING, "")
        return {number: state for number, (state, _) in self._known.items()}

    def _answer(self, ref: Any) -> tuple[State, str]:
        errors = self._ray.exceptions
        try:
            state, said = self._ray.get(ref)
        except errors.ActorUnavailableError:
            return State.WAITING, ""
        except errors.ActorDiedError as error:
            return State.STOPPED, one_line(str(error))
        return State(state), said

    def last_words(self, number: int) -> str:
        return self._known[number][1]

    def stop(self) -> None:
        # Those that have a place answer; what is known of them may be from before they had one.
        asked = {
            actor.state.remote(): actor for number, actor in self._actors.items() if not self._known[number][0].is_over
        }
        placed = self._ray.wait(list(asked), num_returns=len(asked), timeout=ANSWERED)[0] if asked else []
        refs = [asked[ref].stop.remote() for ref in placed]
        if refs:
            self._ray.wait(refs, num_returns=len(refs), timeout=PATIENCE)
        for actor in self._actors.values():
            self._ray.kill(actor, no_restart=True)
        self._asked.clear()
        self._known = {
            number: known if known[0].is_over else (State.STOPPED, known[1]) for number, known in self._known.items()
        }
