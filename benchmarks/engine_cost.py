"""Cost of a search beside its trainings: milliseconds per proposal, and per trial of a search that trains nothing.

`python benchmarks/engine_cost.py [--trials 1000] [--peer-trials 200] [--nni-trials 10]`

First come proposals of each of our strategies after so many finished trials, in one process with one thread: the first
proposal, which prepares what later ones reuse, and the median of the next, each after one more trial. Then come whole
searches with one worker: ours beside Optuna with the same choices, objectives, budget and storages, and beside NNI on
this machine, whose trials are processes of their own. Optuna is told that networks over budget are infeasible, so it
spends trials on them; that is not counted against it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import optuna
from machine import cores, processor, versions
from racing.nni_peers import nested_space
from scale import Ready, Sleeping, open_search, table
from throwaway_postgresql import Server

from results.run import read_run
from results.storage.location import Database
from results.trial import Status, objective
from search.config.problem import Problem
from search.config.sections import SearchConfig
from search.strategies import STRATEGIES, strategy_class
from search.strategies.history import Observation
from search.study.folder import set_up
from search.worker.launchers.nni.experiment import require_nni, running
from search.worker.launchers.nni.service import LOOPBACK
from search.worker.loop import work
from search_space.encoding import INACTIVE
from search_space.genes import GeneSpace, keys

Line = dict[str, str]
TRIAL = "import nni; nni.get_next_parameter(); nni.report_final_result(0.5)"
PORT = 18_080
KNOWN, REPEATS, SLOW_FROM = (100, 1000, 5000), 5, 1000


def line(engine: str, strategy: str, storage: str, trials: int, act: Callable[[], None]) -> Line:
    """One line of the table: ``act`` timed."""
    started, busy = time.perf_counter(), time.process_time()
    act()
    wall, busy = time.perf_counter() - started, time.process_time() - busy
    found = {
        "engine": engine,
        "strategy": strategy,
        "storage": storage,
        "trials": str(trials),
        "ms per trial": f"{1e3 * wall / trials:.1f}",
        "of which CPU here": f"{1e3 * busy / trials:.1f}",
    }
    print(found, flush=True)
    return found


def proposals(problem: Problem) -> list[Line]:
    """On a space of 146 choices, with made-up scores."""
    rng = np.random.default_rng(0)
    genes = problem.genes.sample(rng, 60_000)
    known = list(dict.fromkeys(keys(genes[problem.excess(genes) <= 0])))[: max(KNOWN) + REPEATS]
    effects = rng.normal(0, 1, sum(problem.genes.sizes))
    scores = problem.genes.one_hot(np.array(known, dtype=np.int16)) @ effects + rng.normal(0, 1, len(known))
    scores = 0.3 + 0.05 * (scores - scores.mean()) / scores.std()
    history = [Observation(key, Status.FINISHED, float(score)) for key, score in zip(known, scores, strict=True)]
    lines = []
    for name in STRATEGIES:
        found = {"strategy": name}
        for count in KNOWN:
            if name == "tpe" and count > SLOW_FROM:
                found |= {f"{count:,}: first": "-", f"{count:,}: next": "-"}
                continue
            strategy, took = strategy_class(name)(problem, 0), []
            for more in range(REPEATS + 1):
                started = time.perf_counter()
                strategy.learn(history[: count + more])
                strategy.propose()
                took.append(1e3 * (time.perf_counter() - started))
            found |= {f"{count:,}: first": f"{took[0]:.0f}", f"{count:,}: next": f"{statistics.median(took[1:]):.0f}"}
        lines.append(found)
        print(found, flush=True)
    return lines


def ours(strategy: str, server: Server, trials: int) -> list[Line]:
    opened, lines = open_search(strategy), []
    for storage, database in (("journal", None), ("PostgreSQL", Database(server.url, f"ours-{strategy}"))):
        with tempfile.TemporaryDirectory() as folder:
            set_up(Path(folder), opened, trials, database)
            search = lambda out=Path(folder): work(opened, out, Ready(), Sleeping(0.0))  # noqa: E731
            lines.append(line("boostformer", strategy, storage, trials, search))
            assert len(read_run(Path(folder)).trials) == trials
    return lines


def of_optuna(problem: Problem, strategy: str, server: Server, trials: int) -> list[Line]:
    """``ask``, the choices' values, ``tell`` with values and the budget."""
    lines = []
    url = server.url.replace("postgresql://", "postgresql+psycopg://", 1)
    with tempfile.TemporaryDirectory() as folder:
        file = optuna.storages.journal.JournalFileBackend(str(Path(folder) / "journal.log"))
        storages = {"memory": None, "journal": optuna.storages.JournalStorage(file), "PostgreSQL": url}
        for name, storage in storages.items():
            study = optuna.create_study(
                study_name=f"optuna-{strategy}",
                storage=storage,
                directions=[objective(name).direction for name in problem.objectives],
                sampler=_sampler(strategy),
            )
            search = lambda study=study: study.optimize(_evaluate(problem), n_trials=trials)  # noqa: E731
            lines.append(line("Optuna", strategy, name, trials, search))
    return lines


def _sampler(strategy: str) -> optuna.samplers.BaseSampler:
    if strategy == "random":
        return optuna.samplers.RandomSampler(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=0, multivariate=True, group=True)


def _evaluate(problem: Problem) -> Callable[[optuna.Trial], tuple[float, ...]]:
    space = problem.genes

    def evaluate(trial: optuna.Trial) -> tuple[float, ...]:
        genes: list[int] = []
        for choice, parent in zip(space.choices, space.parents, strict=True):
            active = parent is None or genes[parent[0]] == parent[1]
            indices = range(len(choice.values))
            genes.append(trial.suggest_categorical(choice.name, indices) if active else INACTIVE)
        cost = problem.table.cost(problem.space.decode(tuple(genes)))
        figures = {"miou": 0.5, "macs": cost.macs, "params": cost.params}
        trial.set_constraint("budget", max(problem.budget.violations(figures).values()))
        return tuple(figures[name] for name in problem.objectives)

    return evaluate


def of_nni(space: GeneSpace, trials: int) -> list[Line]:
    """Its own experiment on this machine, one trial at a time, from its start to its end."""
    require_nni()
    from nni.experiment import ExperimentConfig

    with tempfile.TemporaryDirectory() as folder:
        config = ExperimentConfig("local")
        config.trial_command = shlex.join([sys.executable, "-c", TRIAL])
        config.trial_code_directory = config.experiment_working_directory = folder
        config.search_space = nested_space(space)
        config.tuner.name = "Random"
        config.max_trial_number, config.trial_concurrency = trials, 1

        def search() -> None:
            with running(config, PORT, [LOOPBACK]) as experiment:
                while not experiment.is_done():
                    time.sleep(0.2)

        return [line("NNI", "random", "its own", trials, search)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000, help="of ours")
    parser.add_argument("--peer-trials", type=int, default=200, help="of Optuna: its TPE takes seconds for the later")
    parser.add_argument("--nni-trials", type=int, default=10)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(f"{processor()}, {cores()} cores; {versions('optuna', 'nni', 'SQLAlchemy', 'psycopg')}")
    problem = open_search("random").problem
    print("\n" + table(proposals(problem)) + "\n")
    lines = []
    with Server() as server:
        print(f"PostgreSQL {server.sql('SHOW server_version')}, load {os.getloadavg()[0]:.1f}\n")
        for strategy in ("random", SearchConfig().strategy):
            lines += ours(strategy, server, arguments.trials)
        for strategy in ("random", "TPE"):
            lines += of_optuna(problem, strategy, server, arguments.peer_trials)
    lines += of_nni(problem.genes, arguments.nni_trials)
    print("\n" + table(lines))


if __name__ == "__main__":
    main()
