"""The fields of a Jetson board's entry."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from evaluators.latency.device import MeterConfig, Precision


class JetsonSettings(MeterConfig):
    """A board over SSH with TensorRT's trtexec. There is no place for a password: use a key or an agent."""

    PLACE: ClassVar[frozenset[str]] = frozenset(
        {"address", "user", "port", "key", "known_hosts", "trtexec", "folder", "wait_seconds", "attempts"}
    )

    kind: Literal["jetson"]
    address: str = Field(pattern=r"^[^\s\x00-\x1f-][^\s\x00-\x1f]*$")
    user: str | None = None
    port: int = Field(default=22, ge=1, le=65535)
    key: Path | None = None
    """A private key's file; without it the agent and the usual files are tried."""
    known_hosts: Path | None = None
    """File in which `latency trust` keeps the board's key; by default `known_hosts` beside the devices' file."""
    trtexec: str = "/usr/src/tensorrt/bin/trtexec"
    folder: str = "boostformer-latency"
    """On the board, relative to the home folder: uploads, the lock, the timing cache."""
    precision: Precision = "fp16"
    power_mode: str | None = None
    """Its name as `nvpmodel -q` prints it; another mode is refused. Without it, any is recorded."""
    duration: float = Field(default=5.0, gt=0)
    """Seconds that an engine is run."""
    workspace: int = Field(default=1024, ge=1)
    """MiB that a build may use."""
    build_seconds: int = Field(default=1800, ge=1)
    wait_seconds: int = Field(default=3600, ge=1)
    """Seconds to wait for others who use the board."""
    attempts: int = Field(default=3, ge=1)
    """Runs after which a network fails that is unsteady or throttled each time."""
