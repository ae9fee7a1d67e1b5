"""The Jetson meter in trouble: runs that do not count, builds that fail, boards that are shared or drop out."""

from __future__ import annotations

import shutil
import subprocess
import threading

import pytest
from board_server import BoardServer
from jetson_cases import NANO_MS, Meters, graph, measure

from boostformer.errors import UserError
from evaluators.latency.backend import MeasureFailure, Unavailable
from evaluators.latency.jetson.meter import JetsonMeter, trtexec

# --- runs that do not count ---------------------------------------------------------------------------------------


def test_a_throttled_run_is_repeated_and_then_accepted(meters: Meters, server: BoardServer) -> None:
    server.board.plan("ok", "hot", "ok")
    said: list[str] = []
    found = measure(meters(), say=said.append)
    assert found.state["rejected"] == ["throttled: the GPU's clock fell to 614.4 of 921.6 MHz"]
    assert found.state["attempts"] == 2
    assert server.board.steps() == ["build", "run", "run"]
    assert said == ["nano: net", "nano: net: rejected: throttled: the GPU's clock fell to 614.4 of 921.6 MHz"]


def test_over_current_is_repeated(meters: Meters, server: BoardServer) -> None:
    server.board.plan("ok", "over-current", "ok")
    assert measure(meters()).state["rejected"] == ["over-current: hwmon3/oc1_event_cnt rose from 2 to 3"]


def test_an_unstable_run_is_rejected(meters: Meters, server: BoardServer) -> None:
    server.board.plan("ok", *["unsteady"] * 3)
    with pytest.raises(MeasureFailure, match="^nano: net: no run of 3 counts: unstable: .* is 14.1 %$"):
        measure(meters())
    assert server.board.steps() == ["build", "run", "run", "run"]


@pytest.mark.parametrize("ms", ["nan", "inf", "-3.5", "0"])
def test_what_is_no_time_is_never_a_figure(meters: Meters, server: BoardServer, ms: str) -> None:
    server.board.plan("ok", *[f"ms {ms}"] * 3)
    with pytest.raises(MeasureFailure, match="^nano: net: no run of 3 counts: among trtexec's times are some that"):
        measure(meters())
    server.board.plan(*[f"no times ms {ms}"] * 3)
    with pytest.raises(MeasureFailure, match=f"counts: trtexec's GPU Compute Time: {float(ms)} ms between 89.0273 and"):
        measure(meters())
    server.board.plan(f"ms {ms}", "ok")
    found = measure(meters())
    assert found.ms == NANO_MS and len(found.state["rejected"]) == 1


def test_settings_must_stay(meters: Meters, server: BoardServer) -> None:
    meter = meters()
    measure(meter)
    server.board.set("nvpmodel", "NV Power Mode: 5W\n1\n")
    with pytest.raises(Unavailable, match="the board's settings are 5W, .*; they were MAXN, .* must be so again"):
        measure(meter)
    server.board.set("nvpmodel", "NV Power Mode: MAXN\n0\n")
    measure(meter)


def test_engines_of_other_settings_are_others(meters: Meters, server: BoardServer) -> None:
    measure(meters())
    server.board.set("nvpmodel", "NV Power Mode: 5W\n1\n")
    measure(meters())
    assert server.board.steps() == ["build", "run"] * 2


def test_an_engine_that_no_longer_loads_is_built_again(meters: Meters, server: BoardServer) -> None:
    meter = meters()
    measure(meter)
    (engine,) = (server.board.home / meter.device.folder).glob("*.engine")
    engine.write_text("of an older TensorRT")
    found = measure(meter)
    assert found.state["rejected"] == ["its saved engine could not be run"]
    assert found.state["engine"] == "built"
    assert server.board.steps() == ["build", "run", "run", "build", "run"]


# --- failures -----------------------------------------------------------------------------------------------------


def test_a_failed_build_is_told_in_trtexecs_words(meters: Meters, server: BoardServer) -> None:
    server.board.plan("fail")
    with pytest.raises(
        MeasureFailure, match="^nano: net: trtexec could not build it: .*parsing node number 21 | Engine"
    ):
        measure(meters())
    assert measure(meters()).ms == NANO_MS


def test_a_refused_option_is_told(meters: Meters, server: BoardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.board.set("version", "100300")
    build = trtexec.build_command
    monkeypatch.setattr(trtexec, "build_command", lambda *a, **more: [*build(*a, **more), "--workspace=2048"])
    with pytest.raises(MeasureFailure, match="could not build it: Unknown option: --workspace 2048"):
        measure(meters())


def test_a_failed_run_of_a_new_engine_is_no_matter_of_repeating(meters: Meters, server: BoardServer) -> None:
    server.board.plan("ok", "fail")
    with pytest.raises(MeasureFailure, match="trtexec could not run it"):
        measure(meters())
    assert not list((server.board.home / "boostformer-latency").glob("*.engine"))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (["die"], "was killed, likely for want of memory"),
        (["crash"], r"did not come to its end; its last lines: .* \(exit code 134\)"),
        (["ok", "cut"], "did not come to its end; its last lines: .*Average on 10 runs"),
    ],
)
def test_ends_without_a_verdict(meters: Meters, server: BoardServer, plan: list[str], message: str) -> None:
    server.board.plan(*plan)
    with pytest.raises(MeasureFailure, match=message):
        measure(meters())


def test_a_build_that_takes_too_long(meters: Meters, server: BoardServer) -> None:
    server.board.plan("hang")
    with pytest.raises(MeasureFailure, match="trtexec could not build it within 1 s"):
        measure(meters(build_seconds=1))
    assert measure(meters()).ms == NANO_MS


def test_a_full_disk_does_not_speak_against_the_graph(meters: Meters, server: BoardServer) -> None:
    server.board.plan("fail")
    server.board.tool("df", "echo Filesystem 1M-blocks Used Available; echo x 100 97 3")
    with pytest.raises(Unavailable, match="the board's disk is full, 3 MiB are free: trtexec could not build it"):
        measure(meters())


def test_a_graph_that_others_push_out_is_sent_again(meters: Meters, server: BoardServer) -> None:
    server.board.tool("flock", f'rm -f *.onnx; rm "{server.board.tools}/flock"; exec {shutil.which("flock")} "$@"')
    assert measure(meters()).ms == NANO_MS
    server.board.tool("flock", f'rm -f *.onnx *.engine; exec {shutil.which("flock")} "$@"')
    with pytest.raises(Unavailable, match="removed from the board 3 times"):
        measure(meters())


def test_what_the_user_has_to_mend(meters: Meters, server: BoardServer) -> None:
    for entries, message in {
        (
            ("trtexec", "/no/trtexec"),
        ): "nano: trtexec: /no/trtexec cannot be run on the board: there is no such program",
        (("power_mode", "5W"),): "nano: power_mode: 5W is required, the board is in MAXN",
    }.items():
        with pytest.raises(UserError, match=message):
            meters(**dict(entries)).provenance()
    (server.board.home / "file").touch()
    with pytest.raises(UserError, match="folder: file/"):
        measure(meters(folder="file"))


def test_a_version_that_only_the_package_tells(meters: Meters, server: BoardServer) -> None:
    server.board.tool("trtexec", "exit 1")
    server.board.tool("dpkg-query", "printf 8.5.2-1+cuda11.4")
    assert meters().identity.version == (8, 5, 2)
    server.board.tool("dpkg-query", "printf 7.1.3-1+cuda10.2")
    with pytest.raises(UserError, match="is of TensorRT 7.1.3, not 8.0 or later"):
        meters().provenance()
    server.board.tool("dpkg-query", "exit 1")
    with pytest.raises(UserError, match="is of TensorRT an unknown version"):
        meters().provenance()


# --- one board, many workers; a board that drops out --------------------------------------------------------------


def test_three_workers_take_turns(meters: Meters, server: BoardServer) -> None:
    workers = [meters() for _ in range(3)]
    found: list[float] = []

    def work(number: int, meter: JetsonMeter) -> None:
        found.extend(run.ms for run in meter.measure({"net": graph(13, number)}, builds=2).values())

    threads = [threading.Thread(target=work, args=(number, meter)) for number, meter in enumerate(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [NANO_MS] * 3
    journal = server.board.journal
    assert [text.split()[0] for _, _, text in journal] == ["start", "end"] * 12
    # A build and the run of its engine belong together.
    assert server.board.steps() == ["build", "run"] * 6


def test_a_board_that_others_use_for_too_long(meters: Meters, server: BoardServer) -> None:
    meter = meters(wait_seconds=1)
    folder = server.board.home / meter.device.folder
    folder.mkdir()
    with subprocess.Popen(["flock", folder / "lock", "sleep", "60"]) as other:
        while subprocess.run(["flock", "-n", folder / "lock", "true"]).returncode == 0:
            pass
        with pytest.raises(Unavailable, match="others have used the board for 1 s"):
            measure(meter)
        subprocess.run(["pkill", "-P", str(other.pid)], check=True)


@pytest.mark.parametrize("step", ["connect", "login", "upload", "run", "answer", "power"])
def test_a_cut_connection_leaves_the_measurement_for_later(meters: Meters, server: BoardServer, step: str) -> None:
    meter = meters()
    if step != "connect":
        meter.provenance()
        meter.close()
    server.cut = step
    with pytest.raises(Unavailable, match=r"^nano \(127.0.0.1\): "):
        measure(meter)
    assert measure(meter).ms == NANO_MS


def test_a_job_whose_client_is_gone_does_not_keep_the_board(meters: Meters, server: BoardServer) -> None:
    server.board.plan("hang")
    server.cut = "run"
    with pytest.raises(Unavailable):
        measure(meters(build_seconds=1))
    assert measure(meters()).ms == NANO_MS


def test_a_board_that_restarts(meters: Meters, server: BoardServer) -> None:
    meter = meters()
    first = measure(meter)
    server.stop()
    with pytest.raises(Unavailable, match="refused"):
        measure(meter)
    server.start()
    assert measure(meter).ms == first.ms
