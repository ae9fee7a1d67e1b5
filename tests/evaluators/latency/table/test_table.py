"""Predictions from a table: sums of elements, corrected, for one network and for thousands alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from latency_cases import (
    LAUNCH,
    OVERHEAD,
    PROVENANCE,
    SLOPE,
    all_elements,
    element_ms,
    filled,
    made_up,
    network_ms,
    sampled,
    space,
)

from boostformer.errors import UserError
from boostformer.figures import Figure
from boostformer.parts import labels_part, parts
from evaluators.costs.populations import Population
from evaluators.latency.additive import Additive
from evaluators.latency.estimate.estimate import Estimate
from evaluators.latency.graphs import elements, frames_of
from evaluators.latency.table import table as module
from evaluators.latency.table.file import TableFile
from evaluators.latency.table.table import ENOUGH, Table
from search_space import slot_indices


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Calibrated by ten networks."""
    return filled(tmp_path / "table.jsonl", networks=10)


def test_an_element_is_what_was_measured_without_its_frames(table: Table) -> None:
    for element in all_elements():
        if element.kind != "frame":
            halves = sum(element_ms(frame) / 2 for frame in frames_of(element))
            assert table.raw(element) == pytest.approx(element_ms(element) - halves)


def test_a_prediction_is_the_corrected_sum_of_a_network_s_elements(table: Table) -> None:
    fitted = table.correction
    for arch in sampled(20, seed=1):
        listed = list(elements(arch))
        by_hand = fitted.overhead_ms + sum(fitted.of_element(table.raw(e)) * times for e, times in listed)
        assert table.milliseconds(arch) == pytest.approx(by_hand)
        found = table.latency(arch, labels=True)
        assert found.ms == table.milliseconds(arch) and found.provenance.kind == "predicted"
        assert found.labels_ms == pytest.approx(found.ms + table.part(labels_part(arch)))
        assert table.latency(arch).labels_ms is None


def test_networks_that_were_not_measured_are_predicted_well(table: Table) -> None:
    """By ten others; without the correction the sum is far off."""
    for arch in sampled(30, seed=2):
        true = network_ms(table, arch)
        plain = sum(table.raw(e) * times for e, times in elements(arch))
        assert table.milliseconds(arch) == pytest.approx(true, rel=0.03) and plain < 0.93 * true
    assert (SLOPE, LAUNCH, OVERHEAD) != (1, 0, 0)


@pytest.mark.parametrize("kind", ["table", "estimate"])
def test_a_population_s_figures_are_those_of_its_networks(table: Table, kind: str) -> None:
    backend: Additive = table if kind == "table" else Estimate("jetson-nano")
    genes = space().genes.sample(np.random.default_rng(0), 60)
    population = Population(backend, space().slots, space().size, space().classes)
    together = population.figures(slot_indices(space(), genes))[:, 0] + backend.overhead_ms
    archs = [space().decode(row) for row in genes]
    assert len({arch.id for arch in archs}) > 50
    assert together == pytest.approx([backend.milliseconds(arch) for arch in archs], rel=1e-12)
    alone = [backend.overhead_ms + sum(backend.part(p) * n for _, p, n in parts(arch, deployed=True)) for arch in archs]
    assert together == pytest.approx(alone, rel=1e-12)


def test_every_network_s_elements_are_listed_for_its_space(table: Table) -> None:
    assert len(set(all_elements())) == len(all_elements())
    for arch in sampled(100, seed=3):
        assert table.lacking(arch) == []
        assert {element for element, _ in elements(arch, labels=True)} <= set(all_elements())


def test_what_is_missing_is_said_with_the_command_that_measures_it(tmp_path: Path) -> None:
    table = Table(TableFile(tmp_path / "table.jsonl"), "mine")
    arch = sampled(1)[0]
    stem = next(part for _, part, _ in parts(arch, deployed=True) if part.kind == "embed")
    with pytest.raises(UserError, match=r"table\.jsonl: lacks \d+ elements .*latency profile-space .*--device mine$"):
        table.part(stem)
    assert set(table.lacking(arch)) >= {stem}


@pytest.mark.parametrize("networks", [0, ENOUGH - 1])
def test_with_too_few_networks_nothing_is_predicted(tmp_path: Path, networks: int) -> None:
    table = filled(tmp_path / "table.jsonl", networks)
    with pytest.raises(
        UserError, match=f"holds {networks} whole networks, .* {ENOUGH}; .*latency calibrate --device mine"
    ):
        table.latency(sampled(1)[0])
    with pytest.raises(UserError, match=f"holds {networks} whole networks"):
        table.prepare(space().slots, next(iter(space())))
    assert len(table.calibrated) == networks


def test_with_just_enough_networks_there_is_a_prediction(tmp_path: Path) -> None:
    assert filled(tmp_path / "table.jsonl", ENOUGH).latency(sampled(1)[0]).ms > 0


def test_what_other_code_measured_is_not_used(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "code_fingerprint", lambda *code: "newer")
    other = Table(TableFile(table.file.file), "mine")
    assert other.missing(all_elements()) == all_elements() and other.calibrated == {}


def test_the_band_holds_nine_of_ten_errors_of_networks_left_out(tmp_path: Path) -> None:
    table = filled(tmp_path / "table.jsonl", networks=40, noise=0.05)
    low, high = table.band
    assert low < 1 < high and 1 - low == pytest.approx(high - 1)
    assert (np.abs(table.errors) <= high - 1).mean() == pytest.approx(0.9, abs=0.03)
    found = table.latency(sampled(1)[0])
    assert found.figure == Figure(found.ms, found.ms * low, found.ms * high) and found.state["band"] == [low, high]


def test_a_table_that_predicts_nothing_right_is_refused(tmp_path: Path) -> None:
    table = filled(tmp_path / "table.jsonl")
    for number, arch in enumerate(sampled(8, seed=5)):
        table.file.add_network(arch, made_up(100.0 if number % 2 else 1.0), "0", table.code, PROVENANCE)
    useless = Table(TableFile(table.file.file), "mine")
    message = r"table\.jsonl: networks left out of the fit are predicted wrong by \d{3,}%; give the table another file"
    with pytest.raises(UserError, match=message):
        useless.latency(sampled(1)[0])
    with pytest.raises(UserError, match=message):
        useless.prepare(space().slots, next(iter(space())))


def test_a_table_is_doubted_when_networks_left_out_are_predicted_badly(table: Table) -> None:
    assert table.doubts() is None
    count = len(table.calibrated)
    measured = np.array(list(table.calibrated.values()))
    for errors, said in (
        (np.full(count, 0.36), "median error of 36% and a Spearman correlation of 1.00"),
        (np.sort(measured)[::-1][np.argsort(np.argsort(measured))] / measured - 1, "correlation of -1.00"),
    ):
        table.__dict__["errors"] = errors
        doubts = table.doubts()
        assert doubts is not None and "table.jsonl: its calibration fails" in doubts and said in doubts


def test_a_prediction_that_is_no_time_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = filled(tmp_path / "table.jsonl", networks=10)
    monkeypatch.setattr(Table, "overhead_ms", -1000.0)
    arch = sampled(1)[0]
    with pytest.raises(UserError, match=f"^network {arch.id}: -9.* ms is not a figure .predicted: table"):
        table.latency(arch)


def test_an_empty_table_has_no_provenance(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t\.jsonl: holds no figures; run: .* profile-space SPACE --device mine$"):
        Table(TableFile(tmp_path / "t.jsonl"), "mine").provenance()


def test_the_provenance_names_figures_and_device(table: Table) -> None:
    found = table.provenance()
    assert replace(found, kind=PROVENANCE.kind, engine=PROVENANCE.engine) == PROVENANCE
    counts = f"{len(all_elements())} elements and 10 networks"
    assert (found.kind, found.engine) == ("predicted", f"table {table.file.digest} of {counts} by made up")
    table.file.add_network(sampled(30, seed=9)[-1], made_up(9.0), "0", table.code, PROVENANCE)
    assert Table(TableFile(table.file.file), "mine").provenance() != found, "a search began with another table"
