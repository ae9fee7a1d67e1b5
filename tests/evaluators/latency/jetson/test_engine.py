"""Engines as networks, against the stand-in board, which runs them for real: figures, faults, and what stays there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from board_server import BoardServer
from jetson_cases import Meters, graph, measure

from boostformer.deploy.parity import session_of
from evaluators.latency.backend import MeasureFailure, Unavailable
from evaluators.latency.jetson import ssh, trtexec
from evaluators.latency.jetson.engine import Engine
from evaluators.latency.jetson.script import read_image

IMAGE = np.random.default_rng(0).standard_normal((1, 8), dtype=np.float32)


@pytest.fixture
def engine(meters: Meters) -> Engine:
    """An engine that was built on the board."""
    meter = meters()
    measure(meter)
    return Engine(meter, "net", graph(meter.opset))


def left(server: BoardServer) -> set[str]:
    """Endings of the files on the board."""
    return {Path(file.name).suffix for file in (server.board.home / "boostformer-latency").iterdir()}


def test_an_engine_computes_on_the_board(engine: Engine, server: BoardServer) -> None:
    (expected,) = session_of(graph(13)).run(None, {"input0": IMAGE})
    np.testing.assert_allclose(engine.run(IMAGE), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(engine.run(-IMAGE), session_of(graph(13)).run(None, {"input0": -IMAGE})[0], atol=1e-4)
    assert server.board.steps() == ["build", "run", "image", "image"]
    assert ".bin" not in left(server)


def test_an_engine_comes_home_whole_and_nothing_stays(
    engine: Engine, server: BoardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "_PART", 100)
    content = engine.fetch()
    header, _, network = content.partition(b"\n")
    assert header.startswith(b"8201 ") and network == graph(13).SerializeToString(deterministic=True)
    engine.remove()
    assert left(server) == {"", ".cache"}  # the lock, and timings that the next build takes
    with pytest.raises(Unavailable, match="cannot be read on the board"):
        engine.fetch()


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("fail", "net: trtexec could not run it on an image: .*Failed to parse"),
        ("no output", "net: trtexec could not run it on an image: Inference set up failed"),
        ("cut output", "net: what trtexec exported cannot be read"),
        ("crash", "net: trtexec did not come to its end"),
    ],
)
def test_what_goes_wrong_is_said_in_a_line(step: str, message: str, engine: Engine, server: BoardServer) -> None:
    server.board.plan(step)
    with pytest.raises(MeasureFailure, match=message):
        engine.run(IMAGE)
    assert ".bin" not in left(server)
    assert engine.run(IMAGE).shape == (1, 8)


def test_an_engine_that_others_removed_is_said(engine: Engine, server: BoardServer) -> None:
    engine.remove()
    with pytest.raises(Unavailable, match="its engine was removed from the board"):
        engine.run(IMAGE)
    assert ".bin" not in left(server)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'[{"name": "a"}]', b'[{"name": "a", "dimensions": "2x2", "values": [1]}]']
)
def test_an_output_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(trtexec.LogError, match="cannot be read"):
        trtexec.read_output(content)


def test_an_answer_that_is_cut_has_no_output(engine: Engine) -> None:
    whole: Callable[[str], str] = lambda end: f"\nM run\nlog\nM ran 0 1\nM output\nH4sI{end}"  # noqa: E731
    assert read_image(whole(""), "M") == read_image(whole("\nM end\n"), "M")
    step, exported = read_image("\nM run\nlog\n", "M")
    assert step is None and exported is None
