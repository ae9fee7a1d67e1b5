"""The pods of a Job, found by its name and followed; and what a cluster answers."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from boostformer.errors import UserError, short
from search.worker.launchers.kubernetes_job import KubernetesOptions
from search.worker.launchers.launcher import State

if TYPE_CHECKING:
    from kubernetes.client import V1Job, V1Pod

_INDEX = "batch.kubernetes.io/job-completion-index"


class Pods:
    """The pods of a Job, found by its name."""

    pause = 2.0

    def __init__(self, options: KubernetesOptions, name: str) -> None:
        self._batch, self._core = apis(options)
        self._namespace, self._name = options.namespace, name
        self.title = f"Job {name} in the namespace {options.namespace}"

    def job(self) -> V1Job | None:
        found: V1Job | None = None
        with answers():
            found = self._batch.read_namespaced_job(self._name, self._namespace)
        return found

    def workers(self) -> dict[int, State]:
        job = self.job()
        if job is None:
            raise UserError(f"{self.title}: is gone; the same command starts it anew")
        status, pods = job.status, self._newest()
        ended, failed = _indexes(status.completed_indexes), _indexes(status.failed_indexes)
        over = any(found.type in ("Complete", "Failed") and found.status == "True" for found in status.conditions or ())
        states = {}
        for number in range(job.spec.completions):
            pod = pods.get(number)
            if number in ended:
                states[number] = State.ENDED
            elif number in failed or over:
                states[number] = State.FAILED if number in failed else State.STOPPED
            else:
                running = pod is not None and pod.status.phase == "Running"
                states[number] = State.WORKING if running else State.WAITING
        return states

    def last_words(self, number: int) -> str:
        pod, said = self._newest().get(number), None
        if pod is not None:
            with answers():
                said = self._core.read_namespaced_pod_log(pod.metadata.name, self._namespace, tail_lines=20)
        if said is None:
            return "its output is gone with its pod"
        return next((line for line in reversed(str(said).splitlines()) if line.strip()), "it said nothing")

    def stop(self) -> None:
        while (job := self.job()) is not None:
            if job.metadata.deletion_timestamp is None:
                with answers():
                    self._batch.delete_namespaced_job(self._name, self._namespace, propagation_policy="Foreground")
            time.sleep(min(1.0, self.pause))

    def _newest(self) -> dict[int, V1Pod]:
        found: dict[int, V1Pod] = {}
        with answers():
            pods = self._core.list_namespaced_pod(self._namespace, label_selector=f"job-name={self._name}").items
            for pod in sorted(pods, key=lambda pod: pod.metadata.creation_timestamp):
                number = (pod.metadata.annotations or {}).get(_INDEX, "")
                if number.isdecimal():
                    found[int(number)] = pod
        return found


@contextmanager
def answers() -> Iterator[None]:
    """End the block when what was asked for is not there; :class:`UserError` when the cluster refuses, or is away."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        if error.status != 404:
            said = re.search(r'"message":\s*"([^"]*)"', str(error.body or ""))
            raise UserError(f"Kubernetes: {said[1] if said else error.reason} ({error.status})") from None
    except HTTPError as error:
        raise UserError(f"Kubernetes: cannot be reached: {short(str(error))[1:-1]}") from None


def apis(options: KubernetesOptions) -> tuple[Any, Any]:
    """Return the client's APIs of Jobs and of pods; :class:`UserError` where no cluster is known."""
    from kubernetes import client, config

    try:
        config.load_kube_config(os.environ.get("KUBECONFIG"), options.context)
    except config.ConfigException as error:
        try:
            config.load_incluster_config()  # as where the launcher itself is a pod
        except config.ConfigException:
            line = short(str(error))[1:-1]
            raise UserError(f"Kubernetes: no cluster is known here: {line}; see kubectl config") from None
    return client.BatchV1Api(), client.CoreV1Api()


def _indexes(text: str | None) -> set[int]:
    """Read numbers and ranges, as in ``0,3-5``."""
    found: set[int] = set()
    for part in filter(None, (text or "").split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
