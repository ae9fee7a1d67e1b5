"""A run outlives the folder it began in: it goes on, retrains and is shown wherever it and its data lie now."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from coloured_data import write_coloured
from search_factories import SMALL, small

from boostformer import recipes
from boostformer.data import DataConfig
from results.run import read_run
from results.storage.location import Database
from search.cli.full_training import FullTraining

pytestmark = pytest.mark.usefixtures("forked_workers")
Cli = Callable[..., "subprocess.CompletedProcess[str]"]
RUN = """\
space: small.yaml
data: {kind: ade20k, root: data, size: 32x64}
proxy: {iterations: 2, batch_size: 2}
search: {trials: 1, strategy: random}
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, run_cli: Cli) -> Path:
    """What lies in the folder of a project after its search, away from the place that its run knows."""
    folder = tmp_path_factory.mktemp("travel") / "here" / "project"
    write_coloured(folder / "data", training=4, validation=2)
    (folder / "small.yaml").write_text(SMALL)
    (folder / "run.yaml").write_text(RUN)
    begun = run_cli("search", "run.yaml", "--out", "run", "--workers", 1, cwd=folder)
    assert begun.returncode == 0, begun.stderr
    return Path(shutil.copytree(folder.parent, folder.parents[1] / "kept"))


@pytest.fixture
def project(original: Path) -> Path:
    """A folder with data, a run file, and its run of one trial, where the search was made."""
    here = original.with_name("here")
    shutil.rmtree(here)
    return shutil.copytree(original, here) / "project"


ONE_OF_SEVERAL = re.compile(r"(?<![\d.,/])(?<!\+ )1 (images|iterations|networks|trials|trainings|classes|files)\b")


def test_one_is_not_said_to_be_several(tmp_path: Path, run_cli: Cli) -> None:
    write_coloured(tmp_path / "data", training=1, validation=1)
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "run.yaml").write_text(RUN.replace("iterations: 2", "iterations: 1"))
    for command in (
        ["search", "run.yaml", "--out", "run", "--workers", 1],
        ["pareto", "run", "--all"],
        ["retrain", "run", "--out", "net", "--iterations", 1],
        ["evaluate", "net"],
        ["export-run", "run", "run.zip"],
        ["data", "check", "run.yaml"],
    ):
        done = run_cli(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert not ONE_OF_SEVERAL.search(done.stdout + done.stderr), (command, done.stderr)


def finished(run_dir: Path) -> int:
    return sum(trial.is_finished for trial in read_run(run_dir).trials)


def test_a_project_is_moved_as_a_whole(project: Path, run_cli: Cli) -> None:
    moved = project.rename(project.parent / "elsewhere")
    more = run_cli("search", "run.yaml", "--out", "run", "--trials", 2, "--workers", 1, cwd=moved)
    assert more.returncode == 0, more.stderr
    again = moved.rename(project.parent / "once more")  # now without the run file, and from another folder
    joined = run_cli("search", "--resume", again / "run", "--trials", 3, "--workers", 1, cwd=project.parent)
    assert joined.returncode == 0, joined.stderr
    assert finished(again / "run") == 3
    retrained = run_cli("retrain", again / "run", "--iterations", 2, "--out", "net", cwd=project.parent)
    assert retrained.returncode == 0 and "have changed" not in retrained.stderr, retrained.stderr


def test_a_run_and_its_data_are_moved_apart(project: Path, run_cli: Cli, tmp_path: Path) -> None:
    run = shutil.move(project / "run", tmp_path / "run")
    data = shutil.move(project / "data", tmp_path / "disk")
    lost = run_cli("search", "--resume", run, "--trials", 2, "--workers", 1)
    assert lost.returncode == 2
    assert f"{project / 'data'}: no such data folder; --data ROOT says where" in lost.stderr
    found = run_cli("search", "--resume", run, "--trials", 2, "--data", data, "--workers", 1)
    assert found.returncode == 0, found.stderr
    later = run_cli("search", "--resume", run, "--trials", 3, "--workers", 1)  # it knows by now
    assert later.returncode == 0, later.stderr
    assert finished(Path(run)) == 3


def test_other_data_are_refused_wherever_they_lie(project: Path, run_cli: Cli, tmp_path: Path) -> None:
    others = shutil.copytree(project / "data", tmp_path / "others") / "images" / "training"
    shutil.copy(others / "00.png", others / "01.png")
    refused = run_cli("search", "--resume", project / "run", "--trials", 2, "--data", tmp_path / "others")
    assert refused.returncode == 2 and "are not those that the search began with" in refused.stderr
    kept = json.loads((project / "run" / "places.json").read_text())
    assert kept == {"data": str(project / "data"), "data_from_here": "../data"}
    assert finished(project / "run") == 1


def test_a_link_to_the_data_may_lead_elsewhere_later(project: Path, run_cli: Cli, tmp_path: Path) -> None:
    first = shutil.move(project / "data", tmp_path / "first")
    (project / "data").symlink_to(first)
    assert run_cli("search", "--resume", project / "run", "--trials", 2, "--workers", 1).returncode == 0
    second = shutil.move(first, tmp_path / "second")
    (project / "data").unlink()
    (project / "data").symlink_to(second)
    more = run_cli("search", "run.yaml", "--out", "run", "--trials", 3, "--workers", 1, cwd=project)
    assert more.returncode == 0, more.stderr
    worker = run_cli("worker", "run", cwd=project)
    assert worker.returncode == 0, worker.stderr


def test_the_run_file_is_written_back(project: Path, run_cli: Cli, tmp_path: Path) -> None:
    shown = run_cli("show", project / "run", "--config")
    assert shown.returncode == 0, shown.stderr
    (tmp_path / "back.yaml").write_text(shown.stdout)
    more = run_cli("search", "back.yaml", "--out", project / "run", "--trials", 2, "--workers", 1, cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert finished(project / "run") == 2
    about = json.loads(run_cli("show", project / "run", "--format", "json").stdout)
    assert about["objectives"] == ["miou", "macs", "params"] and about["search"]["strategy"] == "random"
    assert about["trials"] == "2 networks finished"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run.yaml", "--resume", "run"), "--resume RUN_DIR: stands alone"),
        (("--resume", "run", "--out", "run"), "--resume RUN_DIR: stands alone"),
        (("run.yaml",), "needs a run file and --out RUN_DIR, or --resume RUN_DIR"),
        (("run.yaml", "--out", "run", "--data", "data"), "--data: is for --resume"),
        (("--resume", "data"), "data is not a run directory"),
        (("--resume", "nothing"), "run directory nothing does not exist"),
    ],
)
def test_what_is_named_is_one_run(project: Path, run_cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    refused = run_cli("search", *arguments, cwd=project)
    assert refused.returncode == 2 and said in refused.stderr


def test_damaged_places_are_named(project: Path, run_cli: Cli) -> None:
    (project / "run" / "places.json").write_text('{"data": 7}')
    refused = run_cli("search", "--resume", project / "run", "--trials", 2)
    assert refused.returncode == 2 and "places.json: damaged; remove it" in refused.stderr


def exported(run_dir: Path, run_cli: Cli, folder: Path, *how: str) -> Path:
    """Another machine's folder with the run that went through a file, and its data; what it was made of is gone."""
    written = run_cli("export-run", run_dir, folder / "run.zip", *how)
    assert written.returncode == 0, written.stderr
    there = folder / "another user"
    there.mkdir()
    shutil.move(run_dir.parent / "data", there / "pictures")
    shutil.rmtree(run_dir.parent)
    read = run_cli("import-run", folder / "run.zip", "streets", cwd=there)
    assert read.returncode == 0 and "search --resume streets --data ROOT" in read.stderr, read.stderr
    return there


def goes_on(there: Path, run_cli: Cli) -> None:
    """Assert that the run `streets` of one trial can be gone on with, once it is said where its data are."""
    more = ["search", "--resume", "streets", "--trials", 2, "--workers", 1]
    lost = run_cli(*more, cwd=there)
    assert lost.returncode == 2 and "--data ROOT says where" in lost.stderr
    found = run_cli(*more, "--data", "pictures", cwd=there)
    assert found.returncode == 0, found.stderr
    assert finished(there / "streets") == 2


@pytest.mark.slow
def test_a_run_goes_to_another_machine_in_a_file(project: Path, run_cli: Cli, tmp_path: Path) -> None:
    there = exported(project / "run", run_cli, tmp_path, "--weights")
    for command in ("pareto", "show", "trust"):
        shown = run_cli(command, "streets", cwd=there)
        assert shown.returncode == 0, shown.stderr
    goes_on(there, run_cli)
    retrained = run_cli("retrain", "streets", "--iterations", 2, "--out", "net", cwd=there)
    assert retrained.returncode == 0 and "have changed" not in retrained.stderr, retrained.stderr
    for network in ("net", "streets:0"):
        written = run_cli("export", network, "--out", "net.onnx", cwd=there)
        assert written.returncode == 0, written.stderr
    again = run_cli("export-run", "streets", "again.zip", "--weights", cwd=there)
    assert again.returncode == 0 and "2 trials" in again.stderr, again.stderr


@pytest.mark.slow
def test_a_run_in_postgresql_goes_to_another_machine_in_a_file(
    project: Path, run_cli: Cli, tmp_path: Path, database: Database
) -> None:
    where = ["--storage", database.url, "--study", database.study]
    begun = run_cli("search", "run.yaml", "--out", "shared", *where, "--workers", 1, cwd=project)
    assert begun.returncode == 0, begun.stderr
    there = exported(project / "shared", run_cli, tmp_path)
    assert not (there / "streets" / "storage.json").exists()
    goes_on(there, run_cli)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("export-run", "run", "run.tar"), "run.tar: a name that ends in .zip is needed"),
        (("export-run", "nothing", "x.zip"), "run directory nothing does not exist"),
        (("export-run", "run", "no/folder/x.zip"), "no/folder/x.zip: cannot be written"),
        (("import-run", "x.zip", "new"), "x.zip: no such file"),
        (("import-run", "run.yaml", "new"), "run.yaml: no zip file"),
        (("import-run", "run.yaml", "run"), "run: is a run already"),
    ],
)
def test_what_cannot_be_carried_is_refused(project: Path, run_cli: Cli, command: tuple[str, ...], said: str) -> None:
    before = sorted(project.rglob("*"))
    refused = run_cli(*command, cwd=project)
    assert (refused.returncode, refused.stdout) == (2, "") and said in refused.stderr
    assert sorted(project.rglob("*")) == before


DEVICE = "objectives: [miou, latency_ms]\nlatency: {device: mine}\n"
MINE = "mine: {kind: estimate, board: jetson-nano}\n"


def test_devices_are_looked_for_beside_the_run_file(project: Path, run_cli: Cli, tmp_path: Path) -> None:
    (project / "timed.yaml").write_text(RUN + DEVICE)
    (project / "devices.yaml").write_text(MINE)
    (tmp_path / "devices.yaml").write_text("other: {kind: host}\n")
    how = ["--out", tmp_path / "timed", "--workers", 2, "--trials", 2]
    begun = run_cli("search", project / "timed.yaml", *how, cwd=tmp_path)
    assert begun.returncode == 0, begun.stderr
    latencies = [trial.latency for trial in read_run(tmp_path / "timed").trials]
    assert all(latency is not None and latency.provenance.kind == "estimated" for latency in latencies)
    shown = run_cli("space", "small.yaml", "--run", project / "timed.yaml", cwd=project)
    assert shown.returncode == 0, shown.stderr
    (project / "devices.yaml").unlink()
    missing = run_cli("search", project / "timed.yaml", *how, cwd=tmp_path)
    assert missing.returncode == 2 and "unknown device 'mine'" in missing.stderr
    named = run_cli("search", project / "timed.yaml", *how, cwd=tmp_path, BOOSTFORMER_DEVICES=str(tmp_path / "no.yaml"))
    assert named.returncode == 2 and "no.yaml: no such file" in named.stderr


def test_how_a_network_was_trained_does_not_depend_on_where_the_data_lay() -> None:
    content = {"training": "0123456789", "validation": "abcdefghij"}
    said = [
        FullTraining(next(iter(small())), DataConfig(root=Path(root)), recipes.load("proxy"), Path("net")).how(content)
        for root in ("/here/streets", "/there/copy of streets")
    ]
    assert said[0] == said[1] and "01234567, abcdefgh" in said[0]
