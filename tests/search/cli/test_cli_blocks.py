"""The listing of blocks as a command, with real milliseconds of a few of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from boostformer.blocks import registry
from evaluators import block_costs
from evaluators.latency.host import HostMeter
from search.cli.program import app

FEW = [("stem", "resizer"), ("embed", "pooling"), ("mixer", "reparam_depthwise"), ("fusion", "weighted_sum")]


@pytest.mark.slow
def test_milliseconds_of_blocks_are_measured_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [registry.get(*item) for item in FEW]  # every block is exported and run in the conformance tests
    monkeypatch.setattr(registry, "declarations", lambda: few)
    monkeypatch.setenv("BOOSTFORMER_CACHE", str(tmp_path))
    monkeypatch.setattr(block_costs, "METER", HostMeter(tolerance=1e9))  # whatever else runs beside the tests
    listings = []
    for measuring in (True, False):
        app(args=["blocks", "--latency", "--format", "json"], standalone_mode=False)
        printed = capsys.readouterr()
        assert [f"measuring {kind} {name}" in printed.err for kind, name in FEW] == [measuring] * len(FEW)
        assert ("measuring" in printed.err) == measuring
        listings.append(json.loads(printed.out))
    assert listings[0] == listings[1]
    assert [(block["kind"], block["block"]) for block in listings[0]] == FEW
    for block in listings[0]:
        latency = block["latency"]
        assert 0 < latency["low_ms"] <= latency["median_ms"] <= latency["high_ms"] and latency["runs"] >= 10
        assert latency["provenance"].startswith("measured: onnxruntime ")
