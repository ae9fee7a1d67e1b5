"""The commands `search`, `worker` and `pareto`, each in a process of its own."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import typer
from forked import Forked
from optuna.storages.journal import JournalFileBackend
from search_factories import MadeUp, opened, run
from throwaway_postgresql import Server

from boostformer.errors import UserError
from boostformer.locks import FileLock
from results.pareto import front
from results.run import read_run
from results.storage.location import Database
from search.cli import program as cli
from search.cli.run import resumable
from search.cli.worker import worker
from search.config.opening import OpenExperiment
from search.study.folder import earlier_experiment, set_up

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
REPOSITORY = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.usefixtures("forked_workers")
RUN = """\
space: tiny
data: {kind: scenes, size: 32x64, scenes: {training: 4, validation: 2}}
budgets: {params: 60k, macs: 6M}
proxy: {iterations: 2, batch_size: 2}
search: {trials: 3, strategy: random}
"""


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(RUN)
    return path


@contextmanager
def start(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """The program as a shell starts it: Ctrl-C is not ignored, whoever runs the tests."""
    process = Forked(
        ["search.cli", *map(str, arguments)],
        env=os.environ | {"NO_COLOR": "1", "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()  # when the test has failed; its children then stop by themselves


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} never came, only: {''.join(seen)}")


def statuses(run_dir: Path) -> list[str]:
    return [str(trial.status) for trial in read_run(run_dir).trials]


@pytest.mark.slow
def test_a_search_from_the_run_file_to_the_front(run_file: Path, tmp_path: Path, run_cli: Cli) -> None:
    out = tmp_path / "out"
    done = run_cli("search", run_file, "--out", out)
    assert done.returncode == 0, done.stderr
    for said in ("random draws fit", "params at most", "4 training and 2 validation", "3 to do", "an estimate"):
        assert said in done.stderr
    assert "[3/3]" in done.stderr and "boostformer retrain" in done.stderr
    assert statuses(out) == ["finished"] * 3
    found = read_run(out)
    members = front(found.trials, found.objectives)
    assert all(member.id in done.stdout for member in members)

    shown = run_cli("pareto", out, "--format", "json", "--plot", tmp_path / "front.png")
    assert [row["id"] for row in json.loads(shown.stdout)] == [member.id for member in members]
    assert (tmp_path / "front.png").stat().st_size > 10_000

    again = run_cli("search", run_file, "--out", out, "--trials", 4)
    assert again.returncode == 0 and "3 done, 1 to do" in again.stderr
    joined = run_cli("worker", out)
    assert joined.returncode == 0 and statuses(out) == ["finished"] * 4
    assert joined.stderr.endswith(f"next:\n  boostformer pareto {out}\n")

    run_file.write_text(RUN.replace("iterations: 2", "iterations: 3"))
    refused = run_cli("search", run_file, "--out", out)
    assert refused.returncode == 2
    assert refused.stderr.endswith("proxy.iterations is 2 there, 3 here; choose another --out\n")
    assert statuses(out) == ["finished"] * 4


@pytest.mark.slow
def test_workers_join_a_search_in_a_database(run_file: Path, tmp_path: Path, server: Server, run_cli: Cli) -> None:
    out, elsewhere = tmp_path / "shared search", tmp_path / "elsewhere"
    begun = run_cli("search", run_file, "--out", out, "--storage", server.url, "--trials", 1)
    assert begun.returncode == 0, begun.stderr
    begun_with = earlier_experiment(out)
    assert begun_with is not None
    set_up(out, OpenExperiment(begun_with), 2)
    joined = run_cli("worker", "--storage", server.url, "--study", "shared search", "--out", elsewhere)
    assert joined.returncode == 0, joined.stderr
    assert statuses(elsewhere) == statuses(out) == ["finished"] * 2


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "stop"), [(1, signal.SIGINT), (2, signal.SIGTERM)])
def test_a_stop_says_how_to_resume_and_loses_nothing(
    run_file: Path, tmp_path: Path, run_cli: Cli, workers: int, stop: signal.Signals
) -> None:
    """Ctrl-C, or what a time limit or a closed terminal does."""
    out = tmp_path / "out"
    run_file.write_text(RUN.replace("iterations: 2", "iterations: 10"))
    arguments = ("search", run_file, "--out", out, "--trials", 200, "--workers", workers)
    with start(*arguments) as process:
        read_until(process, "  2/200]")
        process.send_signal(stop)
        assert process.wait(timeout=120) == 130
        assert process.stderr is not None
        last = process.stderr.read().splitlines()[-1]
    assert " finished" in last and f"to resume: boostformer search {run_file} --out {out}" in last
    before = statuses(out)
    assert "running" not in before and before.count("finished") >= 2
    # How often a Ctrl-C hits a trial is not known, but nothing else may have ended one.
    assert set(before) <= {"finished", "interrupted"} and before.count("interrupted") <= workers
    target = before.count("finished") + 1
    assert run_cli("search", run_file, "--out", out, "--trials", target).returncode == 0
    assert statuses(out).count("finished") == target


@pytest.mark.slow
def test_children_stop_when_their_parent_is_killed(run_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with start("search", run_file, "--out", out, "--trials", 10_000, "--workers", 2) as process:
        read_until(process, "    2/10000]")
        locks = list((out / "workers").iterdir())
        process.kill()
    assert locks
    for lock in locks:
        with suppress(UserError), FileLock(lock, create=False):  # the last one removes it
            pass  # the child has ended
    assert "running" not in statuses(out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "run.yaml"), "needs a run file and --out RUN_DIR"),
        (("search", "no.yaml", "--out", "x"), "no.yaml: no such file"),
        (("search", "run.yaml", "--out", "run.yaml"), "run.yaml: not a directory"),
        (("pareto", "nowhere"), "nowhere does not exist"),
        (("search", "run.yaml", "--out", "x", "--study", "y"), "--storage is missing"),
        (("search", "run.yaml", "--out", "x", "--storage", ""), "'' is not an address of the form postgresql://"),
        (("search", "run.yaml", "--out", "x", "--storage", "sqlite:///x"), "not an address of the form postgresql://"),
        (("worker",), "name the search by RUN_DIR, or by --storage and --study"),
        (("worker", "x", "--study", "y"), "name the search by RUN_DIR, or by --storage and --study"),
        (("worker", "x", "--device", "7"), "--device 7: no such device"),
        (("serch",), "No such command 'serch'. Did you mean 'search'?"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    run_file: Path, run_cli: Cli, arguments: tuple[str, ...], message: str
) -> None:
    done = run_cli(*arguments, cwd=run_file.parent)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr and done.stdout == ""


@pytest.mark.parametrize("option", ["--storage=", "--storage "])
def test_a_stop_while_the_database_is_away_says_how_to_resume_and_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    Database("postgresql://me@127.0.0.1:9/x", "streets").note_in(tmp_path)
    typed = f"boostformer search r.yaml --out run {option}postgresql://me:p@ss@127.0.0.1:9/x"
    monkeypatch.setattr(sys, "argv", typed.split())
    with pytest.raises(typer.Exit) as ended, resumable(tmp_path):
        raise KeyboardInterrupt
    assert ended.value.exit_code == 130
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("stopped: how far the run is cannot be read (postgresql://me@127.0.0.1:9/x: ")
    assert said.endswith(f"; to resume: {typed.replace(':p@ss', '')}")


@pytest.mark.slow
def test_a_run_is_set_up_without_working_on_it(run_file: Path, tmp_path: Path, run_cli: Cli) -> None:
    out = tmp_path / "out"
    done = run_cli("search", run_file, "--out", out, "--workers", 0)
    assert done.returncode == 0 and f"\n  boostformer worker {out}\n" in done.stderr, done.stderr
    assert statuses(out) == [] and run_cli("worker", out).returncode == 0
    assert statuses(out) == ["finished"] * 3


def test_inspecting_loads_no_torch(tmp_path: Path) -> None:
    run(tmp_path, 3, search=opened())
    code = (
        "import sys\nsys.argv = ['boostformer', 'pareto', sys.argv[1], '--format', 'csv']\n"
        "from search.cli.program import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'fvcore', 'matplotlib', 'pandas', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("trial,id,miou,params,macs,latency_ms")


def test_a_full_disk_is_one_line_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, 3, search=opened())

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    set_up(tmp_path, opened(), 4)
    monkeypatch.setattr(JournalFileBackend, "append_logs", full)
    monkeypatch.setattr(OpenExperiment, "proxy", MadeUp())
    with pytest.raises(typer.Exit) as ended:
        worker(tmp_path)
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path}: No space left on device; "
        "what is finished is kept, free space, then the same command resumes\n"
    )
    assert statuses(tmp_path) == ["finished"] * 3


@pytest.mark.slow
def test_killed_outright_the_same_command_goes_on(run_file: Path, tmp_path: Path, run_cli: Cli) -> None:
    out = tmp_path / "out"
    run_file.write_text(RUN.replace("iterations: 2", "iterations: 10"))
    for done in (1, 2):
        with start("search", run_file, "--out", out, "--trials", 3) as process:
            read_until(process, f"[{done}/3]")
            process.kill()
    assert run_cli("search", run_file, "--out", out, "--trials", 3).returncode == 0
    found = statuses(out)
    assert found.count("finished") == 3
    assert set(found) <= {"finished", "interrupted"}


def test_a_full_disk_is_no_traceback_in_any_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "net.onnx")

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: net.onnx: No space left on device; free space and repeat the command\n"
