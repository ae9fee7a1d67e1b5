"""The entry of a Jetson board, and opening it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evaluators.latency.jetson.settings import JetsonSettings

if TYPE_CHECKING:
    from evaluators.latency.jetson.meter import JetsonMeter


class JetsonDevice(JetsonSettings):
    """A board over SSH that is measured by its own trtexec."""

    def meter(self, name: str, folder: Path) -> JetsonMeter:
        from evaluators.latency.jetson.meter import JetsonMeter

        return JetsonMeter(name, self, folder)
