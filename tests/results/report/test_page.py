"""The page of a run: what is in it, what its sentences say, and that names are data and nothing is asked for."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from made_runs import HOSTILE, made_run, retrained
from result_factories import make_latency, make_trial

from results.pareto import front
from results.report.page import embedded, page
from results.report.rows import FIELDS, KINDS, table_of
from results.report.run_page import Beside, Now, run_document
from results.run import Run
from results.trial import Status

BESIDE = Beside("runs/made", "Made today.", at_random=10)


@pytest.fixture(scope="module")
def run() -> Run:
    return made_run()


@pytest.fixture(scope="module")
def document(run: Run) -> dict[str, Any]:
    return run_document(run, HOSTILE, BESIDE)


def card(document: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(card for card in document["cards"] if card["kind"] == kind)


def rows_of(run: Run) -> list[dict[str, Any]]:
    table = table_of(run, front(run.trials, run.objectives))
    rows = [dict(zip(table["fields"], row, strict=True)) for row in table["rows"]]
    return [row | {"kind": table["kinds"][row["kind"]]} for row in rows]


def test_names_stay_data(document: dict[str, Any]) -> None:
    text = page(document).decode()
    assert HOSTILE not in text and "onerror=alert(1)>" not in text
    found = re.search(r'<script type="application/json" id="document">(.*?)</script>', text, re.DOTALL)
    assert found is not None and not set("<>&\u2028") & set(found[1])
    read = json.loads(found[1])
    assert read["title"] == f"Search {HOSTILE}"
    assert card(read, "front")["references"][1]["name"] == HOSTILE


def test_json_has_no_nan() -> None:
    assert embedded({"a": [float("nan"), float("inf"), 1.5]}) == '{"a":[null,null,1.5]}'


def test_the_policy_lets_run_what_came_with_the_page_and_nothing_else(document: dict[str, Any]) -> None:
    text = page(document).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert policy is not None and script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy[1]
    assert "default-src 'none'" in policy[1] and "unsafe" not in policy[1] and "connect-src" not in policy[1]
    assert "connect-src 'self'" in page(document | {"live": True}).decode()
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), "the name of SVG is the only address"


def test_places_on_this_machine_are_left_out(document: dict[str, Any]) -> None:
    assert "/home/somebody" not in page(document).decode()


def test_each_trial_is_a_row_that_says_what_it_is(run: Run) -> None:
    rows = rows_of(run)
    assert len(rows) == len(run.trials)
    assert [row["kind"] for row in rows[-5:]] == ["failed", "failed", "over budget", "running", "over budget"]
    assert {row["number"] for row in rows if row["kind"] == "front"} == {
        t.number for t in front(run.trials, run.objectives)
    }
    heir = rows[60]
    best = max(rows[:60], key=lambda row: row["miou"])
    assert (heir["parent"], heir["behind"]) == (best["number"], 600)
    table = table_of(run, front(run.trials, run.objectives))
    slots = {slot["name"]: slot["values"] for slot in table["slots"]}
    mixer = list(slots).index("stages.3.mixer")
    assert slots["stages.3.mixer"][rows[7]["network"][mixer]] == run.trials[7].architecture["stages"][3]["mixer"]


def test_shorter_trainings_and_further_seeds_are_told_apart() -> None:
    run = made_run(1)
    trials = [
        make_trial(0, miou=0.5),
        make_trial(1, miou=0.3),
        make_trial(2, id=make_trial(1).id, architecture=make_trial(1).architecture, rung=1, miou=0.6),
        make_trial(3, id=make_trial(1).id, architecture=make_trial(1).architecture, rung=1, seed=4, miou=0.4),
    ]
    rows = rows_of(replace(run, trials=trials, objectives=["miou", "params"]))
    assert [row["kind"] for row in rows] == ["shorter", "shorter", "front", "repeat"]
    assert rows[2]["miou"] == pytest.approx(0.5) and rows[2]["seeds"] == 2


def test_rows_stay_right_when_trials_follow(run: Run) -> None:
    """So that few rows are sent again."""
    earlier, later = (
        table_of(replace(run, trials=run.trials[:30]), []),
        table_of(run, front(run.trials, run.objectives)),
    )
    for before, after in zip(earlier["slots"], later["slots"], strict=True):
        assert after["values"][: len(before["values"])] == before["values"]
    places = [FIELDS.index(name) for name in ("number", "id", "network")]
    for before, after in zip(earlier["rows"], later["rows"], strict=False):
        assert [before[place] for place in places] == [after[place] for place in places]


def test_cards_say_in_a_sentence_what_they_show(document: dict[str, Any], run: Run) -> None:
    kinds = [card["kind"] for card in document["cards"]]
    assert kinds[0] == "front" and len(kinds) == len(set(kinds))
    assert {"networks", "choices", "progress", "trust", "failures", "latency", "data", "setup"} <= set(kinds)
    members = front(run.trials, run.objectives)
    assert card(document, "front")["sentence"].startswith(f"{len(members)} of ")
    assert "the mixer of stage 4" in card(document, "choices")["sentence"]
    assert all(card["sentence"].endswith(".") for card in document["cards"])


def test_what_must_not_be_missed_comes_early(run: Run) -> None:
    lost = [replace(trial, status=Status.FAILED, miou=None, reason="nan") for trial in run.trials[:40]]
    document = run_document(replace(run, trials=[*lost, *run.trials[40:]]), "x", BESIDE)
    assert [card["kind"] for card in document["cards"]][1] == "failures"


def test_a_ranking_without_worth_comes_early(run: Run) -> None:
    flat = [replace(trial, miou=0.1) if trial.miou is not None else trial for trial in run.trials]
    document = run_document(replace(run, trials=flat), "x", BESIDE)
    assert [card["kind"] for card in document["cards"]][1] == "trust"


def test_commands_name_the_run_and_the_trial(document: dict[str, Any]) -> None:
    lines = [line for _, line in card(document, "networks")["commands"]]
    assert lines[0] == "boostformer retrain runs/made --trial {n} --out net-{n}"


def test_two_runs_are_held_beside_each_other(run: Run) -> None:
    other = replace(run, trials=run.trials[:20])
    found = card(run_document(run, "x", replace(BESIDE, against=("random", other))), "progress")
    mine, theirs = found["curves"]
    assert theirs["name"] == "random" and theirs["volume"] == mine["volume"][: len(theirs["volume"])]
    assert mine["volume"][-1] == 1
    assert "1.00 times that of random" in found["sentence"]
    assert len(found["random"][0]) == len(theirs["volume"])


def test_retrained_networks_are_drawn_against_their_short_trainings(run: Run) -> None:
    found = card(run_document(retrained(run, 9), "x", BESIDE), "trust")
    assert len(found["retrained"]) == 9 and len(found["comparisons"]) == 1
    number, short, longer = found["retrained"][0]
    assert (number, longer) == (0, pytest.approx(short + 0.2))


def test_estimated_latencies_are_said_to_be_no_measurements(run: Run) -> None:
    made = make_latency(5.0)
    guessed = replace(made, provenance=replace(made.provenance, kind="estimated"))
    trials = [replace(trial, latency=guessed) if trial.latency else trial for trial in run.trials]
    assert "Nobody has measured" in card(run_document(replace(run, trials=trials), "x", BESIDE), "latency")["sentence"]
    finals = [
        replace(trial, final=make_latency(1.5 * trial.latency.ms)) if trial.latency else trial for trial in run.trials
    ]
    assert "at most 50 %" in card(run_document(replace(run, trials=finals), "x", BESIDE), "latency")["sentence"]


def test_a_run_without_any_trial_has_a_page() -> None:
    document = run_document(made_run(1, trials=[], budgets={}), "new", BESIDE, Now())
    assert [card["kind"] for card in document["cards"]][:2] == ["now", "front"]
    assert document["live"] and b"new" in page(document)


def test_kinds_cover_every_status() -> None:
    assert {status.value.replace("_", " ") for status in Status} - {"finished"} <= set(KINDS)
