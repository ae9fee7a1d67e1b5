"""The manifest of a Job whose pods are workers: what each may use, and may not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from search.worker.launchers.command import joining
from search.worker.launchers.order import Options, Order

if TYPE_CHECKING:
    from kubernetes.client import V1Job

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


def job_of(order: Order, options: KubernetesOptions) -> V1Job:
    """Make the Job of an order."""
    from kubernetes import client

    workers = order.workers
    labels = {"app.kubernetes.io/name": "boostformer", "app.kubernetes.io/instance": order.name}
    annotations = {}
    if workers.is_range:
        annotations = {_LEAST: str(workers.least), _EQUAL: "true"}
    exits = client.V1PodFailurePolicyOnExitCodesRequirement
    rules = [  # who lost its node counts as no failure
        client.V1PodFailurePolicyRule(
            action="Ignore",
            on_pod_conditions=[client.V1PodFailurePolicyOnPodConditionsPattern(status="True", type="DisruptionTarget")],
        ),
        client.V1PodFailurePolicyRule(
            action="FailIndex", on_exit_codes=exits(container_name="worker", operator="In", values=[MISTAKE])
        ),
    ]
    return client.V1Job(
        api_version="batch/v1",
        kind="Job",
        metadata=client.V1ObjectMeta(
            name=order.name,
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
            template=client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=_pod(order, options)),
        ),
    )


def _pod(order: Order, options: KubernetesOptions) -> Any:
    from kubernetes import client

    data = order.data
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
        containers=[_container(order, options, {name: (path, fixed) for name, (_, path, fixed) in volumes.items()})],
        volumes=[
            client.V1Volume(name=name, **{fields.get(type(source).__name__, "persistent_volume_claim"): source})
            for name, (source, _, _) in volumes.items()
        ],
    )


def _container(order: Order, options: KubernetesOptions, mounts: dict[str, tuple[str, bool]]) -> Any:
    """Make the worker's container with ``mounts``: the path of each volume, and whether it is only read."""
    from kubernetes import client

    needs = order.needs
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
    if needs.whole_gpus:
        limits[options.gpu] = str(needs.whole_gpus)
    keys = client.V1SecretEnvSource(name=options.keys)
    return client.V1Container(
        name="worker",
        image=options.image,
        command=joining(order, out=f"{WORK}/{order.name}"),
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
