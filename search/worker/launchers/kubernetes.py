"""Workers on Kubernetes, as the pods of one indexed Job, which replaces those that die with their node."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import yaml
from pydantic import Field

from boostformer.errors import UserError, short
from search.study.stores import place_of
from search.worker.launchers.command import joining
from search.worker.launchers.launcher import Fleet, State
from search.worker.launchers.order import Options, Order

if TYPE_CHECKING:
    from kubernetes.client import V1Job, V1Pod

WORK, TLS = "/home/boostformer", "/tls"
USER = 10001
"""Number of the user that the image's program runs as."""
GRACE_SECONDS = 120
"""Seconds in which a worker that is asked to end saves its training and gives back its trial."""
RETRIES = 6
"""The number of times that a failed worker is replaced; one that lost its node always is."""
MISTAKE = 2
"""Exit code of a mistake in what was given, which no other try mends."""
_NAME = r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?"
_INDEX = "batch.kubernetes.io/job-completion-index"
_QUEUE, _LEAST = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/job-min-parallelism"
_EQUAL = "kueue.x-k8s.io/job-completions-equal-parallelism"


class KubernetesOptions(Options):
    """The options that only Kubernetes knows; names are of things in the namespace."""

    image: str = Field(min_length=1, max_length=500, description="Image of the program, by the Dockerfile.")
    namespace: str = Field("default", pattern=f"^{_NAME}$", description="Where the Job is.")
    context: str | None = Field(None, description="Of the kubeconfig; by default the current one.")
    password: str | None = Field(None, pattern=f"^{_NAME}$", description="Secret whose key `password` is PGPASSWORD.")
    tls: str | None = Field(None, pattern=f"^{_NAME}$", description=f"Secret with certificates, as files in {TLS}.")
    keys: str | None = Field(None, pattern=f"^{_NAME}$", description="Secret of variables, such as those for a bucket.")
    data: str | None = Field(None, pattern=f"^{_NAME}$", description="Volume claim with the images, read only.")
    folder: str | None = Field(
        None, pattern=f"^{_NAME}$", description="Volume claim for the run's folder, by default none."
    )
    queue: str | None = Field(
        None, pattern=f"^{_NAME}$", description="Local queue of Kueue, which then admits the Job."
    )
    gpu: str = Field("nvidia.com/gpu", max_length=100, description="Name of the resource that --gpus counts.")
    account: str | None = Field(None, pattern=f"^{_NAME}$", description="Service account, for a bucket without keys.")


class Kubernetes:
    """An indexed Job of pods that may write nothing but their volumes, as a user without rights."""

    engine: ClassVar[str] = "kubernetes"
    options: ClassVar[type[Options]] = KubernetesOptions
    lasts: ClassVar[bool] = True
    scales: ClassVar[bool] = True
    trains: ClassVar[bool] = False

    def __init__(self, order: Order, options: KubernetesOptions) -> None:
        require_client()
        self._order, self._options = order, options
        self._words = joining(order, out=f"{WORK}/{order.name}")
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
        self._gpus = order.needs.whole_gpus

    def plan(self) -> str:
        from kubernetes import client

        text: str = yaml.safe_dump(client.ApiClient().sanitize_for_serialization(self.job()), sort_keys=False)
        return text.rstrip("\n")

    def start(self) -> Fleet:
        with _answers():
            _apis(self._options)[0].create_namespaced_job(self._options.namespace, self.job())
        return _Pods(self._options, self._order.name)

    def find(self) -> Fleet | None:
        fleet = _Pods(self._options, self._order.name)
        if fleet.job() is None:
            return None
        if all(state.is_over for state in fleet.workers().values()):
            fleet.stop()
            return None
        return fleet

    def job(self) -> V1Job:
        """Make the Job."""
        from kubernetes import client

        options, workers = self._options, self._order.workers
        labels = {"app.kubernetes.io/name": "boostformer", "app.kubernetes.io/instance": self._order.name}
        annotations = {}
        if workers.is_range:
            annotations = {_LEAST: str(workers.least), _EQUAL: "true"}
        exits = client.V1PodFailurePolicyOnExitCodesRequirement
        rules = [  # who lost its node counts as no failure
            client.V1PodFailurePolicyRule(
                action="Ignore",
                on_pod_conditions=[
                    client.V1PodFailurePolicyOnPodConditionsPattern(status="True", type="DisruptionTarget")
                ],
            ),
            client.V1PodFailurePolicyRule(
                action="FailIndex", on_exit_codes=exits(container_name="worker", operator="In", values=[MISTAKE])
            ),
        ]
        return client.V1Job(
            api_version="batch/v1",
            kind="Job",
            metadata=client.V1ObjectMeta(
                name=self._order.name,
                namespace=options.namespace,
                labels=labels | ({_QUEUE: options.queue} if options.queue else {}),
                annotations=annotations or None,
            ),
            spec=client.V1JobSpec(
                completion_mode="Indexed",
                completions=workers.most,
                parallelism=workers.most,
                backoff_limit_per_index=RETRIES,
                max_failed_indexes=workers.most,
                pod_failure_policy=client.V1PodFailurePolicy(rules=rules),
                suspend=True if options.queue else None,
                template=client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=self._pod()),
            ),
        )

    def _pod(self) -> Any:
        from kubernetes import client

        options, data = self._options, self._order.data
        claim = client.V1PersistentVolumeClaimVolumeSource
        empty = client.V1EmptyDirVolumeSource
        volumes = {"tmp": (empty(), "/tmp", False), "shm": (empty(medium="Memory"), "/dev/shm", False)}  # noqa: S108  the pod's own
        volumes["work"] = (claim(claim_name=options.folder) if options.folder else empty(), WORK, False)
        if options.data:
            volumes["data"] = (claim(claim_name=options.data, read_only=True), str(data), True)
        if options.tls:
            volumes["tls"] = (client.V1SecretVolumeSource(secret_name=options.tls, default_mode=0o440), TLS, True)
        fields = {"V1EmptyDirVolumeSource": "empty_dir", "V1SecretVolumeSource": "secret"}
        return client.V1PodSpec(
            restart_policy="Never",
            termination_grace_period_seconds=GRACE_SECONDS,
            automount_service_account_token=options.account is not None,
            service_account_name=options.account,
            security_context=client.V1PodSecurityContext(
                run_as_non_root=True,
                run_as_user=USER,
                run_as_group=USER,
                fs_group=USER,
                seccomp_profile=client.V1SeccompProfile(type="RuntimeDefault"),
            ),
            containers=[self._container({name: (path, fixed) for name, (_, path, fixed) in volumes.items()})],
            volumes=[
                client.V1Volume(name=name, **{fields.get(type(source).__name__, "persistent_volume_claim"): source})
                for name, (source, _, _) in volumes.items()
            ],
        )

    def _container(self, mounts: dict[str, tuple[str, bool]]) -> Any:
        """Make the worker's container with ``mounts``: the path of each volume, and whether it is only read."""
        from kubernetes import client

        options, needs = self._options, self._order.needs
        plain = {"HOME": WORK, "XDG_CONFIG_HOME": f"{WORK}/.config", "BOOSTFORMER_CACHE": "/tmp/boostformer"}  # noqa: S108
        if needs.cores is not None:
            plain["OMP_NUM_THREADS"] = str(needs.cores)
        environment = [client.V1EnvVar(name=name, value=value) for name, value in plain.items()]
        if options.password:
            key = client.V1SecretKeySelector(name=options.password, key="password")
            source = client.V1EnvVarSource(secret_key_ref=key)
            environment.append(client.V1EnvVar(name="PGPASSWORD", value_from=source))
        amounts = {"cpu": needs.cores, "memory": f"{needs.memory}Mi" if needs.memory else None}
        requests = {name: str(value) for name, value in amounts.items() if value is not None}
        limits = {name: value for name, value in requests.items() if name == "memory"}
        if self._gpus:
            limits[options.gpu] = str(self._gpus)
        keys = client.V1SecretEnvSource(name=options.keys)
        return client.V1Container(
            name="worker",
            image=options.image,
            command=self._words,
            working_dir=WORK,
            env=environment,
            env_from=[client.V1EnvFromSource(secret_ref=keys)] if options.keys else None,
            resources=client.V1ResourceRequirements(requests=requests or None, limits=limits or None),
            security_context=client.V1SecurityContext(
                allow_privilege_escalation=False,
                read_only_root_filesystem=True,
                capabilities=client.V1Capabilities(drop=["ALL"]),
            ),
            volume_mounts=[
                client.V1VolumeMount(name=name, mount_path=path, read_only=fixed or None)
                for name, (path, fixed) in mounts.items()
            ],
        )


class _Pods:
    """The pods of a Job, found by its name."""

    pause = 2.0

    def __init__(self, options: KubernetesOptions, name: str) -> None:
        self._batch, self._core = _apis(options)
        self._namespace, self._name = options.namespace, name
        self.title = f"Job {name} in the namespace {options.namespace}"

    def job(self) -> V1Job | None:
        found: V1Job | None = None
        with _answers():
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
            with _answers():
                said = self._core.read_namespaced_pod_log(pod.metadata.name, self._namespace, tail_lines=20)
        if said is None:
            return "its output is gone with its pod"
        return next((line for line in reversed(str(said).splitlines()) if line.strip()), "it said nothing")

    def stop(self) -> None:
        while (job := self.job()) is not None:
            if job.metadata.deletion_timestamp is None:
                with _answers():
                    self._batch.delete_namespaced_job(self._name, self._namespace, propagation_policy="Foreground")
            time.sleep(min(1.0, self.pause))

    def _newest(self) -> dict[int, V1Pod]:
        found: dict[int, V1Pod] = {}
        with _answers():
            pods = self._core.list_namespaced_pod(self._namespace, label_selector=f"job-name={self._name}").items
            for pod in sorted(pods, key=lambda pod: pod.metadata.creation_timestamp):
                number = (pod.metadata.annotations or {}).get(_INDEX, "")
                if number.isdecimal():
                    found[int(number)] = pod
        return found


@contextmanager
def _answers() -> Iterator[None]:
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


def require_client() -> None:
    """Raise :class:`UserError` where the official client is not installed."""
    try:
        import kubernetes  # noqa: F401
    except ImportError:
        raise UserError("--on kubernetes needs its client: pip install 'boostformer[kubernetes]'") from None


def _apis(options: KubernetesOptions) -> tuple[Any, Any]:
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
