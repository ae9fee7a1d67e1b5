"""The contestants of a race, our strategies and the peers, by name."""

from __future__ import annotations

import ast
import hashlib
import importlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from boostformer.errors import UserError, nearest
from racing.contest import Contest
from search.strategies import STRATEGIES, strategy_class

PEERS = {
    "random": "racing.ours:run_random",
    "optuna/nsga2": "racing.optuna_peers:run_nsga2",
    "optuna/tpe": "racing.optuna_peers:run_tpe",
    "nni/tpe": "racing.nni_peers:run_tpe",
    "nni/evolution": "racing.nni_peers:run_evolution",
    "archai/evolution": "racing.archai_peers:run_evolution",
    "archai/mobananas": "racing.archai_peers:run_mobananas",
}
OURS = tuple(f"ours/{name}" for name in STRATEGIES)
SLOW = ("archai/mobananas",)
"""Those that take seconds a candidate."""

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def names(wanted: Iterable[str] = ()) -> list[str]:
    """All contestants, or those ``wanted``; "ours" and "peers" stand for all of a kind."""
    groups = {"ours": list(OURS), "peers": list(PEERS)}
    every = [*OURS, *PEERS]
    found = [name for word in wanted for name in groups.get(word, [word])]
    for name in found:
        if name not in every:
            raise UserError(f"--methods: unknown contestant '{name}'; {nearest(name, [*groups, *every])}")
    return found or every


def runner(name: str) -> Callable[[Contest], None]:
    """What races this contestant; raises :class:`UserError` when its package is not installed."""
    if name in OURS:
        from racing.ours import run_ours

        strategy_class(name.removeprefix("ours/"))
        return partial(run_ours, name=name.removeprefix("ours/"))
    module, _, function = PEERS[name].partition(":")
    try:
        found: Callable[[Contest], None] = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        raise UserError(f"{name}: {error.name} is not installed; `make race` sets up an environment with it") from None
    return found


def version(name: str) -> str:
    """Changes with the code and the package that a contestant's results hang on; comments and formatting do not."""
    files, package = [HERE / "contest.py"], name.partition("/")[0]
    if name in OURS:
        files += [HERE / "ours.py", *sorted((ROOT / "search/strategies").glob("*.py"))]
        files += [ROOT / file for file in ("search_space/genes.py", "search_space/encoding.py", "results/pareto.py")]
        package = "optuna"
    else:
        files += [HERE / "filtered.py", HERE / f"{PEERS[name].partition(':')[0].removeprefix('racing.')}.py"]
    code = "".join(f"{file.name} {ast.dump(ast.parse(file.read_text()))}" for file in files)
    with suppress(PackageNotFoundError):
        code += metadata.version(package)
    return hashlib.sha256(code.encode()).hexdigest()[:12]
