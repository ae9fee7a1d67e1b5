"""Networks that a run file names are proposed first, or refused with the choice or budget that is in the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_files import write
from search_factories import SMALL, MadeUp, Watcher, run, small

from boostformer.errors import UserError
from results.run import read_run
from search.config.frozen import run_file_of
from search.config.opening import resolve
from search.study.folder import set_up
from search.worker.loop import work

NETWORKS = list(small())
RUN = """\
space: small.yaml
data: {kind: scenes, size: 64x64, scenes: {training: 4, validation: 2}}
proxy: {iterations: 2, batch_size: 2}
search: {trials: 4, strategy: random, first: [arch.json, "before:1", "before:3"]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "arch.json").write_text(json.dumps(NETWORKS[7].replace(classes=3, size=(32, 32)).to_dict()))
    opened, _ = resolve(write(tmp_path, RUN.replace(', "before:1", "before:3"', "")))
    run(tmp_path / "before", 4, search=opened)
    return tmp_path


def test_they_are_proposed_first_and_count(folder: Path) -> None:
    opened, trials = resolve(folder / "run.yaml" if write(folder, RUN) else folder)
    wanted = [first.network.id for first in opened.experiment.first]
    earlier = read_run(folder / "before").trials
    assert wanted == [NETWORKS[7].replace(classes=8).id, earlier[1].id, earlier[3].id]
    set_up(folder / "run", opened, trials)
    work(opened, folder / "run", Watcher(), MadeUp())
    found = [trial.id for trial in read_run(folder / "run").trials]
    assert found[:3] == wanted and len(set(found)) == 4


def test_a_search_that_goes_on_needs_what_they_were_read_from_no_more(folder: Path) -> None:
    before, _ = resolve(write(folder, RUN))
    (folder / "arch.json").unlink()
    assert resolve(folder / "run.yaml", before.experiment)[0].experiment == before.experiment
    with pytest.raises(UserError, match="arch.json"):
        resolve(folder / "run.yaml")
    (folder / "arch.json").write_text(json.dumps(NETWORKS[7].to_dict()))
    again = write(folder, run_file_of(before.experiment, 4))
    assert resolve(again)[0].experiment.first == before.experiment.first


def wider() -> str:
    arch = NETWORKS[0].to_dict()
    arch["stages"][0]["width"] = 24
    return json.dumps(arch)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("arch.json", "wide.json", r"search.first.0: .*wide.json: .*stages.0.width 24, allowed: 8, 16"),
        ("arch.json", "segformer_b0", r"search.first.0: segformer_b0: .* outside the search space: "),
        ("arch.json", "segformer_b9", r"search.first.0: .*segformer_b9' is not a preset's name"),
        ('"before:1"', '"before:77"', r"search.first.1: .*no trial or id '77'"),
        (
            "space:",
            "budgets: {params: 9k}\nspace:",
            r"search.first.0: .*arch.json is over the budgets: params .* k of 9.000 k",
        ),
    ],
)
def test_what_cannot_be_tried_is_refused(folder: Path, old: str, new: str, said: str) -> None:
    (folder / "wide.json").write_text(wider())
    with pytest.raises(UserError, match=said):
        resolve(write(folder, RUN.replace(old, new, 1)))
