"""Run files without mistakes."""

from __future__ import annotations

from pathlib import Path

GOOD = """\
space: tiny
data: {kind: scenes, size: 32x64, scenes: {training: 4, validation: 2}}
objectives: [miou, macs]
budgets:
  baseline: segformer_b0
  params: 50%
  macs: 5M
proxy: {iterations: 10, batch_size: 2}
search: {trials: 7, seed: 4, strategy: nsga2}
"""
FEW = GOOD.replace("space: tiny", "space: small.yaml")
NANO = FEW.replace("[miou, macs]", "[miou, latency_ms]") + "latency: {device: jetson-nano}\n"
"""Of a small space that stands beside it, and with milliseconds."""


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text)
    return path
