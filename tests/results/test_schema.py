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
from result_factories import OBJECTIVES, create_run, make_record, write_record

from boostformer.errors import UserError
from results.schema import Retraining, Run, note_retraining, open_study, read_run
from results.storage.location import JOURNAL_NAME


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run of three trials: finished, failed, running."""
    study = create_run(tmp_path / "run")
    for record in (
        make_record(0),
        make_record(1, state="failed", miou=None, failure="nan"),
        make_record(2, state="running", miou=None, seconds=None),
    ):
        write_record(study, record)
    return tmp_path / "run"


def test_what_a_search_writes_is_what_is_read(run_dir: Path) -> None:
    run = read_run(run_dir)
    assert run.records == [
        make_record(0),
        make_record(1, state="failed", miou=None, failure="nan"),
        make_record(2, state="running", miou=None, seconds=None),
    ]
    assert run.objectives == OBJECTIVES
    assert run.budgets == {"params": 3_000_000, "macs": 10**9}
    assert run.config == {"space": "tiny"}
    assert [reference["name"] for reference in run.references] == ["segformer_b0"]


def test_promotions_are_visible(tmp_path: Path) -> None:
    study = create_run(tmp_path)
    network = {"id": "abc", "iterations": 100}
    records = [make_record(0, **network), make_record(1, iterations=100), make_record(2, **network, state="running")]
    for record in records[:2]:
        write_record(study, record)
    assert [record.promoted for record in read_run(tmp_path).records] == [None, None]
    write_record(study, replace(records[2], rung=1, iterations=300, miou=None))
    found = read_run(tmp_path).records
    assert [(r.rung, r.iterations, r.promoted) for r in found] == [(0, 100, True), (0, 100, False), (1, 300, False)]


def test_retrainings_are_kept_in_the_run(run_dir: Path) -> None:
    assert read_run(run_dir).retrainings == []
    found = [Retraining("abc", 0.5, 3000, 0, "on these data"), Retraining("abc", 0.6, 3000, 1, "on these data")]
    for retraining in (*found, replace(found[0], miou=0.55)):
        note_retraining(run_dir, retraining)
    kept = read_run(run_dir).retrainings
    assert sorted(kept, key=lambda r: r.seed) == [replace(found[0], miou=0.55), found[1]]
    assert len(read_run(run_dir).records) == 3


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
        assert len(read_run(run_dir).records) == 3
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
    write_record(open_study(run_dir), make_record(3))
    assert len(read_run(run_dir).records) == 4


def test_writers_take_turns(run_dir: Path) -> None:
    """Two processes append at once: every operation of both is there, on a line of its own."""
    program = f"""
from results.schema import open_study
study = open_study({str(run_dir)!r})
for _ in range(20):
    study.ask().set_user_attr("note", "x" * 5000)
"""
    root = Path(__file__).parents[2]
    writers = [subprocess.Popen([sys.executable, "-c", program], cwd=root) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert sum("note" in trial.user_attrs for trial in open_study(run_dir).trials) == 40


def test_a_trial_without_architecture_is_no_record_yet(run_dir: Path) -> None:
    study = open_study(run_dir)
    study.ask()
    trial = study.ask()
    for key, value in list(make_record(4).attributes().items())[:3]:
        trial.set_user_attr(key, value)
    assert [record.trial for record in read_run(run_dir).records] == [0, 1, 2]


def test_a_finished_trial_that_is_not_ours_is_named(run_dir: Path) -> None:
    study = open_study(run_dir)
    study.tell(study.ask(), [0.5, 1.0, 1.0])
    with pytest.raises(UserError, match=r"journal\.log: finished trial 3 has no id, architecture"):
        read_run(run_dir)


@pytest.fixture(scope="module")
def journal_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("journal")
    study = create_run(folder)
    for trial in range(3):
        write_record(study, make_record(trial))
    return (folder / JOURNAL_NAME).read_bytes()


def records_or_refusal(folder: Path) -> Run | None:
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
    whole = records_or_refusal(tmp_path)
    journal.write_bytes(journal_bytes[:cut])
    assert records_or_refusal(tmp_path) == whole
    assert journal.read_bytes() == journal_bytes[:cut]
    if whole is not None:
        study = open_study(tmp_path)
        number = len(study.trials)
        write_record(study, make_record(number))
        assert journal.read_bytes().startswith(kept)
        assert read_run(tmp_path).records == [*whole.records, make_record(number)]


def test_a_writer_goes_on_after_another_was_killed_in_mid_line(run_dir: Path) -> None:
    study = open_study(run_dir)
    with (run_dir / JOURNAL_NAME).open("ab") as killed:
        killed.write(b'{"op_code":8,"tri')
    write_record(study, make_record(3))
    write_record(study, make_record(4))
    assert [record.trial for record in read_run(run_dir).records] == [0, 1, 2, 3, 4]


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
        (b'{"op_code":0,"worker_id":"a"}\n', "damaged journal"),
        (b'{"op_code":99}\n', "damaged journal"),
        (b'{"op_code":0,"work\n{"op_code":0}\n', "damaged journal"),
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
import results.pareto, results.report.plots, results.schema, results.summary, results.tables
run = results.schema.read_run({str(run_dir)!r})
front = results.pareto.front(run.records, run.objectives)
results.tables.render(results.tables.to_rows(front))
print([name for name in ("torch", "pandas", "matplotlib", "plotly", "sqlalchemy") if name in sys.modules])
results.report.plots.plot_front(run.records, front, [], run.objectives, {str(run_dir / "front.png")!r})
results.report.plots.plot_front(run.records, front, [], run.objectives, {str(run_dir / "front.html")!r})
print("torch" in sys.modules)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False"]
