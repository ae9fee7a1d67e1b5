"""What the networks that a strategy proposes begin from, and the way from a start into the budgets."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from search_factories import network, problem, quality

from results.trial import START, Status
from search.config.problem import Key, Problem
from search.strategies import STRATEGIES, strategy_class
from search.strategies.base import BEST, YOUNGEST, Inheritance, Proposal, Strategy
from search.strategies.history import Observation, nearest
from search.strategies.surrogate import Surrogate, _Belief
from search.strategies.walk import near
from search_space.genes import keys
from search_space.nearness import apart, distances, nearer

every = pytest.mark.parametrize("name", STRATEGIES)


def make(name: str, task: Problem | None = None, start: Key | None = None) -> Strategy:
    return strategy_class(name)(task or problem(), 5, Inheritance(start))


def grow(strategy: Strategy, count: int) -> tuple[list[Observation], list[Proposal]]:
    """Every seventh fails; each that is finished can be inherited from, but every fifth's weights are lost."""
    history: list[Observation] = []
    proposals: list[Proposal] = []
    for number in range(count):
        strategy.learn(history)
        proposal = strategy.propose()
        proposals.append(proposal)
        behind = {o.genes: o.behind for o in history}.get(proposal.parent, 0) + 10  # type: ignore[arg-type]
        made = Observation(proposal.genes, Status.FAILED, parent=proposal.parent)
        if number % 7 != 6:
            score, has = quality(network(strategy, proposal.genes)), number % 5 != 4
            made = Observation(proposal.genes, Status.FINISHED, score, None, proposal.parent, behind, has)
        history.append(made)
    return history, proposals


@every
def test_parents_are_networks_of_the_history_whose_weights_are_there(name: str) -> None:
    strategy = make(name)
    history, proposals = grow(strategy, 45)
    assert all(proposal.parent is None for proposal in proposals[: strategy.startup])
    for number, proposal in enumerate(proposals):
        heritable = {o.genes for o in history[:number] if o.heritable}
        assert proposal.parent is None or proposal.parent in heritable
        assert proposal.parents <= heritable
    assert all(proposal.parent is not None for proposal in proposals[strategy.startup :])
    strategy.learn(history[:30])
    assert strategy.propose() == proposals[30], "it follows from the history alone"


@every
def test_without_inheritance_the_proposals_are_the_same_networks_without_parents(name: str) -> None:
    plain, history = strategy_class(name)(problem(), 5), []
    for _ in range(strategy_class(name).startup + 3):
        plain.learn(history)
        proposal = plain.propose()
        assert proposal == Proposal(proposal.genes)
        history.append(Observation(proposal.genes, Status.FINISHED, quality(network(plain, proposal.genes))))


def test_a_network_begins_from_the_most_like_it_of_several_the_best() -> None:
    task = problem()
    rng = np.random.default_rng(0)
    child = task.genes.sample(rng, 1)
    near, far = task.genes.mutate(child, rng, 1), task.genes.mutate(child, rng, 12)
    one, other = keys(np.concatenate([near, far]))
    low, high = (Observation(key, Status.FINISHED, s, heritable=True) for key, s in ((one, 0.1), (other, 0.9)))
    assert nearest(task.genes, keys(child)[0], [low, high], None) == one
    assert nearest(task.genes, keys(child)[0], [high], None) == other
    assert nearest(task.genes, keys(child)[0], [high], keys(near)[0]) == START
    assert nearest(task.genes, keys(child)[0], [Observation(one, Status.FINISHED, 0.5)], None) is None
    strategy = make("random", task, keys(near)[0])
    strategy.learn([high])
    assert strategy.parents_of(child, strategy.breeding()).tolist() == [-1]
    strategy.learn([high, low])
    assert strategy.parents_of(child, strategy.breeding()).tolist() == [1], "the start's own next training"


def test_few_networks_are_parents_the_best_and_the_youngest() -> None:
    task = problem()
    strategy = make("random", task)
    rows = keys(task.genes.sample(np.random.default_rng(0), 120))
    history = [Observation(k, Status.FINISHED, 0.9 - i / 200, heritable=True) for i, k in enumerate(rows)]
    strategy.learn(history)
    breeding = strategy.breeding()
    assert len(breeding) <= BEST + YOUNGEST and 0 in breeding and 119 in breeding
    assert make("evolution", task).breeding().size == 0


@every
def test_the_first_networks_are_the_start_and_near_it_within_the_budgets(name: str) -> None:
    free = problem(limits={})
    start = keys(free.genes.sample(np.random.default_rng(3), 50))[7]
    strategy = make(name, free, start)
    _, proposals = grow(strategy, 4)
    assert proposals[0] == Proposal(start, START)
    cost = free.table.cost(free.space.decode(start))
    tight = problem(limits={"params": cost.params // 2, "macs": cost.macs // 2})
    strategy = make(name, tight, start)
    history, proposals = grow(strategy, 6)
    assert all(tight.fits(proposal.genes) for proposal in proposals) and proposals[0].parent == START
    rows = np.array([o.genes for o in history], dtype=np.int16)
    begin = np.array([start], dtype=np.int16)
    rng = np.random.default_rng(0)
    others = np.array([tight.random(rng, ()) for _ in range(20)], dtype=np.int16)
    near = distances(tight.genes, rows, begin).mean()
    assert near < 0.7 * distances(tight.genes, others, begin).mean()


@pytest.mark.parametrize("share", [0.8, 0.5, 0.3])
def test_ways_from_the_start_end_close_to_the_budgets_and_no_further_from_it_than_need_be(share: float) -> None:
    free = problem(limits={})
    drawn = free.genes.sample(np.random.default_rng(0), 200)
    macs = free.costs(drawn)[:, free.objectives.index("macs") - 1]
    begin = keys(drawn)[macs.argmax()]
    task = problem(limits={"macs": int(share * macs.max())})
    first, *found = islice(near(task, begin, np.random.default_rng(0)), 41)
    assert first == begin
    rows, goal = np.array(found, dtype=np.int16), np.array(begin, dtype=np.int16)
    excess = task.excess(rows)
    assert (excess <= 0).all() and np.median(excess) > -0.1
    for row in rows:
        back = nearer(task.genes, row, goal)
        assert len(back) and (task.excess(back) > 0).all(), "no change could have been left out"


def test_around_a_start_that_fits_the_ways_are_a_change_long() -> None:
    task = problem(limits={})
    begin = keys(task.genes.sample(np.random.default_rng(1), 1))[0]
    found = np.array(list(islice(near(task, begin, np.random.default_rng(0)), 1, 20)), dtype=np.int16)
    blocks = [column for column, parent in enumerate(task.genes.parents) if parent is None]
    assert ((found != np.array(begin))[:, blocks].sum(axis=1) <= 1).all() and len(set(keys(found))) > 5


def test_with_a_start_newcomers_are_near_it() -> None:
    task = problem(limits={})
    begin = keys(task.genes.sample(np.random.default_rng(1), 1))[0]
    strategy = make("random", task, begin)
    history, _ = grow(strategy, strategy.startup + 5)
    late = np.array([o.genes for o in history[strategy.startup :]], dtype=np.int16)
    drawn = task.genes.sample(np.random.default_rng(0), 50)
    goal = np.array(begin, dtype=np.int16)
    assert apart(task.genes, late, goal).max() < apart(task.genes, drawn, goal).mean()
    few = strategy.newcomers(np.random.default_rng(0), 200)
    assert apart(task.genes, few, goal).max() < apart(task.genes, drawn, goal).mean()
    assert len(make("random", task).newcomers(np.random.default_rng(0), 200)) == 200


@every
def test_where_no_way_leads_from_the_start_random_networks_are_tried(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.strategies.walk.MOST_STEPS", 0)
    task = problem(limits={"params": 16_000, "macs": 2_000_000})
    big = max(keys(task.genes.sample(np.random.default_rng(0), 50)), key=lambda k: float(task.excess(np.array([k]))[0]))
    history, proposals = grow(make(name, task, big), 3)
    assert all(task.fits(o.genes) for o in history) and {p.parent for p in proposals[:1]} == {START}


def test_what_a_network_begins_from_is_described_by_its_age_its_changes_and_its_score() -> None:
    task = problem()
    rows = task.genes.sample(np.random.default_rng(0), 3)
    one, two, three = keys(rows)
    strategy = make("surrogate", task)
    old = Observation(one, Status.FINISHED, 0.6, behind=3000, heritable=True)
    strategy.learn([old, Observation(two, Status.RUNNING, parent=one), Observation(three, Status.RUNNING)])
    assert strategy.history.parents.tolist() == [-1, 0, -1]
    found = strategy.ancestry(rows, strategy.history.parents)
    scratch, child = found[0], found[1]
    assert (found[2] == scratch).all()
    assert child[0] > scratch[0] and child[1] < scratch[1] and child[2] > scratch[2]
    begun = make("surrogate", task, one)
    begun.learn([old])
    assert begun.ancestry(rows[:1], np.array([-1]))[0, 1] < child[1], "the start itself has not changed"


def test_the_surrogate_learns_what_a_parent_is_worth() -> None:
    """Scores that follow from the parents' alone: of equal networks that with the better parent should win."""
    task, rng = problem(), np.random.default_rng(0)
    rows = keys(task.genes.sample(rng, 60))
    history = [
        Observation(key, Status.FINISHED, s, heritable=True) for key, s in zip(rows[:10], rng.random(10), strict=True)
    ]
    for key in rows[10:]:
        parent = history[int(rng.integers(10))]
        assert parent.miou is not None
        history.append(Observation(key, Status.FINISHED, parent.miou / 2 + 0.3, None, parent.genes, 20, True))
    strategy = make("surrogate", task)
    assert isinstance(strategy, Surrogate)
    strategy.learn(history)
    belief = _Belief(strategy, strategy._usual_costs, strategy._kernel)
    genes = task.genes.sample(rng, 20)
    inputs = belief._seen(genes)[0]
    ranked = sorted(range(10), key=lambda i: history[i].miou or 0.0)
    worst, best = (
        belief._score.predict(belief._with_ancestry(inputs, genes, np.full(20, i)))[0] for i in (ranked[0], ranked[-1])
    )
    assert (best > worst).mean() > 0.9 and (best - worst).mean() > 0.1
