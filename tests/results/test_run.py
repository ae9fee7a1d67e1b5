"""Reading a run: round trip, damage of every kind, a search that is still writing, and no heavy imports."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from result_factories import OBJECTIVES, create_run, make_latency, make_trial, write_trial

from boostformer.errors import UserError
from results.run import Retraining, Run, note_finalist, note_retraining, open_study, read_run
from results.schema import FORMAT_VERSION, score_attribute
from results.storage.location import JOURNAL_NAME
from results.trial import Status

FUZZED = Path(__file__).parents[1] / "fuzz" / "corpus" / "journal"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run of three trials: finished, failed, running."""
    study = create_run(tmp_path / "run")
    for trial in (
        make_trial(0),
        make_trial(1, status=Status.FAILED, miou=None, reason="nan"),
        make_trial(2, status=Status.RUNNING, miou=None, seconds=None),
    ):
        write_trial(study, trial)
    return tmp_path / "run"


def test_what_a_search_writes_is_what_is_read(run_dir: Path) -> None:
    run = read_run(run_dir)
    assert run.trials == [
        make_trial(0),
        make_trial(1, status=Status.FAILED, miou=None, reason="nan"),
        make_trial(2, status=Status.RUNNING, miou=None, seconds=None),
    ]
    assert run.objectives == OBJECTIVES
    assert repr(run) == f"Run(3 trials, 1 finished, for {', '.join(OBJECTIVES)})"
    assert run.budgets == {"params": 3_000_000, "macs": 10**9}
    assert run.config == {"version": FORMAT_VERSION, "space": "tiny"}
    assert [reference["name"] for reference in run.references] == ["segformer_b0"]


def test_promotions_are_visible(tmp_path: Path) -> None:
    study = create_run(tmp_path)
    first, other = make_trial(0, iterations=100), make_trial(1, iterations=100)
    for trial in (first, other):
        write_trial(study, trial)
    assert [trial.promoted for trial in read_run(tmp_path).trials] == [None, None]
    longer = replace(first, number=2, key=replace(first.key, rung=1), status=Status.RUNNING, miou=None)
    write_trial(study, replace(longer, iterations=300))
    found = read_run(tmp_path).trials
    assert [(t.key.rung, t.iterations, t.promoted) for t in found] == [(0, 100, True), (0, 100, False), (1, 300, False)]


def test_retrainings_are_kept_in_the_run(run_dir: Path) -> None:
    assert read_run(run_dir).retrainings == []
    found = [Retraining("abc", 0.5, 3000, 0, "on these data"), Retraining("abc", 0.6, 3000, 1, "on these data")]
    for retraining in (*found, replace(found[0], miou=0.55)):
        note_retraining(run_dir, retraining)
    kept = read_run(run_dir).retrainings
    assert sorted(kept, key=lambda retraining: retraining.seed) == [replace(found[0], miou=0.55), found[1]]
    assert len(read_run(run_dir).trials) == 3


def test_a_run_that_cannot_be_written_to_is_named(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object, flags: int, *mode: int) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("boostformer.locks.os.open", refuse)
    with pytest.raises(UserError, match=r"journal\.log: cannot be written: Permission denied"):
        note_retraining(run_dir, Retraining("abc", 0.5, 3000, 0, ""))


def test_reading_changes_nothing_and_waits_for_no_writer(run_dir: Path) -> None:
    journal = run_dir / JOURNAL_NAME
    journal.write_bytes(journal.read_bytes() + b'{"op_code":8,"tri')  # a search is just writing
    before = journal.read_bytes()
    with journal.open("rb") as search:
        fcntl.flock(search, fcntl.LOCK_EX)
        assert len(read_run(run_dir).trials) == 3
    assert journal.read_bytes() == before
    assert [path.name for path in run_dir.iterdir()] == [JOURNAL_NAME]


def test_a_writer_killed_while_it_holds_the_lock_stops_nobody(run_dir: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from results.storage.journal import open_journal
open_journal(Path({str(run_dir / JOURNAL_NAME)!r}))._backend._lock.acquire()
os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root).returncode == -signal.SIGKILL
    write_trial(open_study(run_dir), make_trial(3))
    assert len(read_run(run_dir).trials) == 4


def test_writers_take_turns(run_dir: Path) -> None:
    """Two processes append at once: every operation of both is there, on a line of its own."""
    program = f"""
from results.run import open_study
study = open_study({str(run_dir)!r})
for _ in range(20):
    study.ask().set_user_attr("note", "x" * 5000)
"""
    root = Path(__file__).parents[2]
    writers = [subprocess.Popen([sys.executable, "-c", program], cwd=root) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert sum("note" in trial.user_attrs for trial in open_study(run_dir).trials) == 40


def test_a_trial_without_a_network_is_none_yet(run_dir: Path) -> None:
    study = open_study(run_dir)
    study.ask()
    study.ask().set_user_attr(*score_attribute(0.5, 1.0, ""))
    assert [trial.number for trial in read_run(run_dir).trials] == [0, 1, 2]


def test_a_finished_trial_that_others_added_is_no_result_of_the_run(run_dir: Path) -> None:
    before = read_run(run_dir)
    study = open_study(run_dir)
    study.tell(study.ask(), [0.5, 1.0, 1.0])
    assert read_run(run_dir) == before


@pytest.mark.parametrize(
    "config", [{"version": 3}, {"version": 5}, {"version": "4"}, {"space": "tiny"}, ["tiny"], None]
)
def test_a_run_of_another_version_is_refused_before_its_trials_are_read(run_dir: Path, config: object) -> None:
    """As version 3 kept them, with flat attributes."""
    study = open_study(run_dir)
    study.set_user_attr("config", config)
    trial = study.ask()
    trial.set_user_attr("id", "abc")
    study.tell(trial, [0.5, 1.0, 1.0])
    before = (run_dir / JOURNAL_NAME).read_bytes()
    with pytest.raises(UserError) as refused:
        read_run(run_dir)
    version = repr(config.get("version") if isinstance(config, dict) else None)
    assert str(refused.value) == (
        f"{run_dir / JOURNAL_NAME}: a run of version {version} cannot be read, allowed: 4; read it with the release "
        "that wrote it, or begin the search again"
    )
    assert (run_dir / JOURNAL_NAME).read_bytes() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("objectives", None),
        ("budgets", 7),
        ("references", None),
        ("retraining abc", {"id": "abc"}),
        ("retraining abc", [0.5]),
        ("finalist abc", {"ms": 5.0}),
        ("finalist abc", make_latency(5.0).to_dict() | {"ms": -5.0}),
        ("finalist abc", "5 ms"),
    ],
)
def test_a_run_whose_study_is_damaged_is_one_line(run_dir: Path, name: str, value: object) -> None:
    open_study(run_dir).set_user_attr(name, value)
    with pytest.raises(UserError, match=r"journal\.log: damaged(:| \().*") as refused:
        read_run(run_dir)
    assert "\n" not in str(refused.value)


def test_finalists_keep_their_final_latency(run_dir: Path) -> None:
    first, failed, running = read_run(run_dir).trials
    final = make_latency(4.0, labels_ms=4.5, state={"builds": [3.9, 4.0, 4.1]})
    for trial in (first, failed):
        note_finalist(run_dir, trial.id, final)
    assert read_run(run_dir).trials == [replace(first, final=final), failed, running]


@pytest.fixture(scope="module")
def journal_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("journal")
    study = create_run(folder)
    for number in range(3):
        write_trial(study, make_trial(number))
    return (folder / JOURNAL_NAME).read_bytes()


def run_or_refusal(folder: Path) -> Run | None:
    try:
        return read_run(folder)
    except UserError:
        return None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_journal_cut_anywhere_loses_only_its_last_operation(
    journal_bytes: bytes, tmp_path: Path, data: st.DataObject
) -> None:
    """As after kill -9 or a full disk: what was written whole is read, and the search goes on from there."""
    cut = data.draw(st.integers(0, len(journal_bytes)))
    journal = tmp_path / JOURNAL_NAME
    kept = journal_bytes[: journal_bytes.rfind(b"\n", 0, cut) + 1]
    journal.write_bytes(kept)
    whole = run_or_refusal(tmp_path)
    journal.write_bytes(journal_bytes[:cut])
    assert run_or_refusal(tmp_path) == whole
    assert journal.read_bytes() == journal_bytes[:cut]
    if whole is not None:
        study = open_study(tmp_path)
        number = len(study.trials)
        write_trial(study, make_trial(number))
        assert journal.read_bytes().startswith(kept)
        assert read_run(tmp_path).trials == [*whole.trials, make_trial(number)]


def test_a_writer_goes_on_after_another_was_killed_in_mid_line(run_dir: Path) -> None:
    study = open_study(run_dir)
    with (run_dir / JOURNAL_NAME).open("ab") as killed:
        killed.write(b'{"op_code":8,"tri')
    write_trial(study, make_trial(3))
    write_trial(study, make_trial(4))
    assert [trial.number for trial in read_run(run_dir).trials] == [0, 1, 2, 3, 4]


def test_missing_and_foreign_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"not a run directory: it holds no journal\.log"):
        read_run(tmp_path)
    assert list(tmp_path.iterdir()) == []
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UserError, match="file is not a directory"):
        read_run(file)
    (tmp_path / JOURNAL_NAME).mkdir()
    with pytest.raises(UserError, match=r"journal\.log: cannot be opened: Is a directory"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "holds no study"),
        (b"my diary\n", "not the journal of a search"),
        (b"my diary without an end", "not the journal of a search"),
        (b'{"op_code":0,"worker_id":"a","study_name":"other","directions":[1]}\n', "holds no study"),
        (b'{"op_code":0,"worker_id":"a","study_name":"boostformer","directions":[1]}\n', "never set up"),
        (b'{"op_code":0,"worker_id":"a"}\n', ":1: damaged journal"),
        (b'{"op_code":99}\n', ":1: damaged journal"),
        ((FUZZED / "nested-choice.log").read_bytes(), ":2: damaged journal"),
        (b'{"op_code":0,"work\n{"op_code":0}\n', ":1: damaged, and what follows depends on it"),
        (b'{"op_code":0,"worker_id":"a","study_name":"x","directions":[1]}\n\0\0\n', ":2: damaged, and what follows"),
    ],
)
def test_files_that_are_no_journal_are_named_and_left_alone(tmp_path: Path, content: bytes, complaint: str) -> None:
    journal = tmp_path / JOURNAL_NAME
    journal.write_bytes(content)
    with pytest.raises(UserError, match=rf"journal\.log.*{complaint}") as caught:
        read_run(tmp_path)
    assert "\n" not in str(caught.value)
    if complaint != "never set up":
        with pytest.raises(UserError, match=complaint):
            open_study(tmp_path)
    assert journal.read_bytes() == content


def test_the_room_never_imports_torch_nor_drawing_libraries_before_drawing(run_dir: Path) -> None:
    program = f"""
import sys
import results.pareto, results.report.page, results.report.plots, results.report.run_page
import results.run, results.summary, results.tables
run = results.run.read_run({str(run_dir)!r})
front = results.pareto.front(run.trials, run.objectives)
results.tables.render(results.tables.to_rows(front))
print([name for name in ("torch", "pandas", "matplotlib", "sqlalchemy") if name in sys.modules])
results.report.plots.plot_front(run.trials, front, [], run.objectives, {str(run_dir / "front.png")!r})
results.report.page.page(results.report.run_page.run_document(run, "run", results.report.run_page.Beside("run")))
print("torch" in sys.modules)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False"]
