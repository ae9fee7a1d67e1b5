"""The NNI training service that runs the workers: its section of NNI's configuration, checked by NNI's own classes."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from boostformer.errors import UserError, nearest
from boostformer.files import read_text
from boostformer.yaml_lines import Place, compose

LOOPBACK = "127.0.0.1"
_CLASSES = {
    "local": "LocalConfig",
    "remote": "RemoteConfig",
    "kubeflow": "KubeflowConfig",
    "frameworkcontroller": "FrameworkControllerConfig",
}
# Keys as NNI compares them: without case and underscores.
_OURS = ("trialcommand", "trialcodedirectory", "command", "codedirectory")
_SECRETS = ("password", "sshpassphrase")


@dataclass(frozen=True)
class Service:
    """A training service: its platform, and its settings in NNI's configuration, key by key as in ``source``."""

    platform: str = "local"
    values: Mapping[str, Any] = field(default_factory=lambda: {"platform": "local"})
    source: str = "--service"

    @property
    def is_local(self) -> bool:
        return self.platform == "local"

    def listening(self, host: str) -> list[str]:
        """Return the addresses where NNI must listen: loopback for its own parts, ``host`` for workers elsewhere.

        Raises :class:`UserError` when ``host`` is no address, is set though all workers are local, or is missing for
        workers elsewhere.
        """
        try:
            address = ip_address(host)
        except ValueError:
            raise UserError(f"--host: '{host}' is not an IP address of this machine, like {LOOPBACK}") from None
        if self.is_local and host != LOOPBACK:
            raise UserError(f"--host {host}: is for workers on other machines, and needs --service")
        told = any(_plain(key) == "nnimanagerip" for key in self.values)
        if not self.is_local and not told and (address.is_loopback or address.is_unspecified):
            raise UserError(
                f"{self.source}: workers on other machines report to this one: give --host the address at which they "
                f"reach it, or the key nniManagerIp here"
            )
        return [host] if address.is_unspecified or host == LOOPBACK else [LOOPBACK, host]


def read_service(path: Path | None) -> Service:
    """Read the service that a file describes, as ``trainingService`` does in NNI's configuration.

    Without a file it is this machine. Raises :class:`UserError` when the file is not of that form, names an unsupported
    platform, or has a key that the launcher sets, or a secret, which NNI would show on its web page.
    """
    if path is None:
        return Service()
    top = compose(read_text(path), str(path), needs="a training service of NNI with its 'platform' is needed")
    entries = top.entries("a training service of NNI")
    if "platform" not in entries:
        raise top.error(f"no 'platform'; allowed: {', '.join(_CLASSES)}")
    platform = entries["platform"].scalar()
    if platform not in _CLASSES:
        raise entries["platform"].error(f"unknown platform '{platform}'; {nearest(platform, _CLASSES)}")
    for place in _keys(top):
        if (key := _plain(place.keys[-1])) in _OURS:
            raise place.error("is set by the launcher; leave it out")
        if key in _SECRETS:
            raise place.error("NNI would show it on its web page; use sshKeyFile with a key that needs none")
    return Service(platform, top.plain(), str(path))


def experiment_config(service: Service, name: str, command: str, workers: int, folder: Path, host: str) -> Any:
    """Make NNI's configuration of an experiment that runs all its workers at once and then ends.

    Args:
        service: where they run.
        name: of the experiment.
        command: shell command of a worker.
        workers: how many.
        folder: where NNI writes its files.
        host: this machine's address, for workers elsewhere.

    Raises:
        UserError: NNI's classes refuse it; says why.
    """
    from nni.experiment import config as nni_config
    from nni.experiment.config.utils import set_base_path, unset_base_path

    code = folder / "code"
    code.mkdir(parents=True, exist_ok=True)
    (code / "README").write_text("What NNI copies to each machine. The program must be installed there.\n", "utf-8")
    set_base_path(Path(service.source).parent.absolute())  # files that it names lie beside it
    try:
        section = getattr(nni_config, _CLASSES[service.platform])(**service.values)
        for part in _parts(section):
            _set_missing(part, command=command, code_directory=str(code))
        if not service.is_local:
            _set_missing(section, nni_manager_ip=host)
        config = nni_config.ExperimentConfig(
            experiment_name=name,
            # NNI asks a tuner what each trial is to try: which worker it is.
            search_space={"worker": {"_type": "choice", "_value": list(range(workers))}},
            tuner=nni_config.AlgorithmConfig(name="GridSearch"),
            trial_command=command,
            trial_code_directory=code,
            trial_concurrency=workers,
            max_trial_number=workers,
            experiment_working_directory=folder,
            training_service=section,
        )
        config.validate()
    except (AttributeError, ValueError, TypeError, AssertionError) as error:
        raise UserError(f"{service.source}: {_said(error)}") from None
    finally:
        unset_base_path()
    return config


def _keys(place: Place) -> Iterator[Place]:
    """Return every key of a file, at any depth."""
    value = place.plain()
    if isinstance(value, dict):
        for entry in place.entries("keys to values").values():
            yield entry
            yield from _keys(entry)
    elif isinstance(value, list):
        for item in place.items("values"):
            yield from _keys(item)


def _plain(key: object) -> str:
    return str(key).lower().replace("_", "")


def _parts(section: Any) -> Iterator[Any]:
    """Return the roles of a service on Kubernetes, which name their command themselves."""
    for value in vars(section).values():
        yield from (part for part in (value if isinstance(value, list) else [value]) if hasattr(part, "command"))


def _set_missing(config: Any, **values: object) -> None:
    from nni.experiment.config.utils import is_missing

    for name, value in values.items():
        if hasattr(config, name) and is_missing(getattr(config, name)):
            setattr(config, name, value)


def _said(error: Exception) -> str:
    """Say what NNI's classes found wrong; some of them only assert it."""
    if str(error):
        return " ".join(str(error).split())
    line = traceback.extract_tb(error.__traceback__)[-1].line or type(error).__name__
    return f"NNI wants {line.removeprefix('assert ').replace('self.', '')}"
