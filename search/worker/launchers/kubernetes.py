"""Workers on Kubernetes, as the pods of one indexed Job, which replaces those that die with their node."""

from __future__ import annotations

from typing import ClassVar

import yaml

from boostformer.errors import UserError
from search.study.stores import place_of
from search.worker.launchers.kubernetes_job import KubernetesOptions, job_of
from search.worker.launchers.kubernetes_pods import Pods, answers, apis
from search.worker.launchers.launcher import Fleet
from search.worker.launchers.order import Options, Order


class Kubernetes:
    """An indexed Job of pods that may write nothing but their volumes, as a user without rights."""

    engine: ClassVar[str] = "kubernetes"
    options: ClassVar[type[Options]] = KubernetesOptions
    lasts: ClassVar[bool] = True
    scales: ClassVar[bool] = True
    gathers: ClassVar[bool] = True
    trains: ClassVar[bool] = False

    def __init__(self, order: Order, options: KubernetesOptions) -> None:
        require_client()
        self._order, self._options = order, options
        order.database  # noqa: B018  refuses a run in a file
        if order.workers.is_range and self._options.queue is None:
            raise UserError(
                f"--workers {order.workers}: Kubernetes itself takes a number; a range needs Kueue (--option queue=…)"
            )
        if (order.data is None) != (self._options.data is None):
            raise UserError("--data DIR and --option data=CLAIM: each needs the other: the claim is mounted at DIR")
        if order.data is not None and not order.data.is_absolute():
            raise UserError(f"--data '{order.data}': where pods find the images; allowed: a path from the root, /…")
        place = place_of(order.run_dir)
        if place is not None and place.startswith("/"):
            raise UserError(
                f"{order.run_dir}: weights and states lie in the folder {place}, which no pod has; use a bucket"
            )
        order.needs.whole_gpus  # noqa: B018  refuses a share of one

    def plan(self) -> str:
        from kubernetes import client

        plain = client.ApiClient().sanitize_for_serialization(job_of(self._order, self._options))
        text: str = yaml.safe_dump(plain, sort_keys=False)
        return text.rstrip("\n")

    def start(self) -> Fleet:
        with answers():
            apis(self._options)[0].create_namespaced_job(self._options.namespace, job_of(self._order, self._options))
        return Pods(self._options, self._order.name)

    def find(self) -> Fleet | None:
        fleet = Pods(self._options, self._order.name)
        if fleet.job() is None:
            return None
        if all(state.is_over for state in fleet.workers().values()):
            fleet.stop()
            return None
        return fleet


def require_client() -> None:
    """Raise :class:`UserError` where the official client is not installed."""
    try:
        import kubernetes  # noqa: F401
    except ImportError:
        raise UserError("--on kubernetes needs its client: pip install 'boostformer[kubernetes]'") from None
