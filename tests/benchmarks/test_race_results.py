"""Resuming a race, its score, its statistics, and the contestants."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boostformer.errors import UserError

pytest.importorskip("pymoo", reason="races need the extra 'benchmark'")

from racing import fronts, records
from racing.contest import Contest, Over
from racing.contestants import OURS, PEERS, SLOW, names, runner, version
from racing.hierarchical import Hierarchical
from racing.landscape import Floats, Landscape
from racing.pairwise import Pairwise
from racing.report import Report
from racing.score import checkpoints, curve, hypervolume, selected
from racing.significance import compare, holm

from search_space.encoding import Choice
from search_space.genes import Genes, GeneSpace

RESULT = records.Result("h", "v1", "random", "c1", 0, 100, 100, [10, 100], [0.1, 0.2], 1.0, 0.5)
VERSIONS = {("h", "random"): ("v1", "c1")}


class Line(Landscape):
    """Ten networks; the accuracy seen is that of the network at the other end."""

    name = "line"
    objectives = ("miou", "params")
    worst = (0.0, 10.0)
    best = (1.0, 0.0)
    listed = True
    genes = GeneSpace((Choice("number", tuple(range(10))),))

    def all(self) -> Genes:
        return np.arange(10, dtype=np.int16)[:, None]

    def true(self, genes: Genes) -> Floats:
        return genes[:, 0] / 10

    def see(self, genes: Genes, seed: int) -> Floats:
        return 1 - self.true(genes)

    def costs(self, genes: Genes) -> Floats:
        return np.full((len(genes), 1), 5.0)


def test_hypervolume_of_known_points() -> None:
    assert hypervolume(np.array([[0.5, 0.5]])) == pytest.approx(0.25)
    assert hypervolume(np.array([[0.5, 0.5], [0.25, 0.75], [0.9, 0.9], [2.0, 0.0]])) == pytest.approx(0.3125)


def test_what_is_selected_by_sight_is_scored_by_truth() -> None:
    ground = Line()
    genes = np.array([[9], [4], [2]], dtype=np.int16)  # seen 0.1, 0.6, 0.8: the worst looks best
    assert curve(ground, genes, 0, [1, 2, 3]) == pytest.approx([0.45, 0.2, 0.1])
    assert selected(np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])).tolist() == [True, True, False, True]
    assert checkpoints(30) == [10, 15, 20, 25, 30]


def test_the_front_of_a_listed_landscape_is_exact_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fronts, "FRONTS", tmp_path / "fronts.json")
    found = fronts.true_front(Line())
    assert found.hypervolume == pytest.approx(0.45)
    assert found.size == 1
    assert fronts.true_front(Line()) == found
    assert len(json.loads((tmp_path / "fronts.json").read_text())) == 1


@pytest.mark.parametrize("kind", [Hierarchical, Pairwise])
def test_the_fronts_kept_are_those_of_the_landscapes(kind: type[Landscape]) -> None:
    ground = kind()
    assert f"{ground.name} {ground.fingerprint()}" in json.loads(fronts.FRONTS.read_text())


def test_a_race_goes_on_from_its_records(tmp_path: Path) -> None:
    file = tmp_path / "runs" / "results.jsonl"
    longer = replace(RESULT, evaluations=200)
    records.append(file, [RESULT, longer, replace(RESULT, seed=1), replace(RESULT, seed=2, version="older")])
    with file.open("a") as stream:
        stream.write('{"torn')
    assert records.read(file, VERSIONS) == [longer, replace(RESULT, seed=1)]
    assert records.read(tmp_path / "none", VERSIONS) == []


def test_holm_and_a12() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    found = compare(np.arange(10, 20), {"low": np.arange(10), "same": np.arange(10, 20)})
    assert (found["low"].a12, found["low"].verdict) == (1.0, "significantly better")
    assert (found["same"].a12, found["same"].verdict) == (0.5, "no significant difference")


def test_a_report_compares_with_peers_that_had_less(tmp_path: Path) -> None:
    points, seeds = checkpoints(200), range(6)

    def results(method: str, level: float, points: Sequence[int]) -> list[records.Result]:
        values = [[level + 0.01 * seed + n / 1000 for n in points] for seed in seeds]
        return [
            records.Result("line", "", method, "", seed, points[-1], points[-1], list(points), values[seed], 1.0, 1.0)
            for seed in seeds
        ]

    done = [*results("ours/surrogate", 0.5, points), *results("random", 0.2, points)]
    done += results("archai/mobananas", 0.4, checkpoints(100))
    report = Report(Line(), fronts.Front(2.0, 1, ""), done, "ours/surrogate")
    assert report.best_peer(100) == "archai/mobananas"
    assert set(report.comparisons(100, 200)) == {"random@200", "archai/mobananas@100"}
    assert report.comparisons(100, 100)["random@100"].verdict == "significantly better"
    assert report.to_dict()["methods"]["random"]["mean"][-1] == pytest.approx((0.4 + 0.025) / 2)
    assert list(report.to_dict()["comparisons"]) == [
        f"ours/surrogate@{ours} against peers@{theirs}" for ours, theirs in ((100, 100), (200, 200), (100, 200))
    ]
    report.draw(tmp_path / "line.png")
    assert (tmp_path / "line.png").stat().st_size > 10_000


def test_contestants_are_found_by_name() -> None:
    assert names() == [*OURS, *PEERS]
    assert names(["ours", "random"]) == [*OURS, "random"]
    with pytest.raises(UserError, match="unknown contestant 'optuna/tpee'"):
        names(["optuna/tpee"])
    assert version("ours/tpe") != version("random") == version("random")


@pytest.mark.parametrize(
    "method",
    [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in (*OURS, *PEERS)],
)
@pytest.mark.parametrize("kind", [Pairwise, Hierarchical])
def test_every_contestant_races_within_budget_and_the_same_again(method: str, kind: type[Landscape]) -> None:
    pytest.importorskip(method.split("/")[0].replace("ours", "numpy").replace("random", "numpy"))
    trained = []
    for _ in range(1 if method in SLOW else 2):
        contest = Contest(kind(), seed=1, evaluations=12)
        with pytest.raises(Over):
            runner(method)(contest)
        trained.append(list(contest.seen))
    assert len(trained[0]) == 12
    assert trained[0] == trained[-1]
