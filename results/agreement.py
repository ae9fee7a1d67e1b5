"""Trust in a run's short trainings: whether longer trainings rank its networks alike, and how much scores scatter.

Ranks are compared by Kendall's tau-b: 1 for the same order, 0 for none in common, so that (1 + tau) / 2 of all pairs
are in the same order. Longer trainings are those of higher rungs, finalists with the mean of their seeds, and
retrainings. Only trainings of equal length and recipe are ranked together.

Two effects bias the figures. Only the best networks by the short training are trained longer, and among these tau is
lower than among all. And a longer training of a higher rung continues the short one with the same seed, so both share
their luck: tau is higher than between independent trainings.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from results.fidelity import standing
from results.pareto import front
from results.run import Run
from results.trial import Trial

ENOUGH = 8
"""Fewest networks that allow a conclusion: in random orders of 8, tau still reaches 0.5 one time in 20."""
AGREES = 0.5
"""Smallest tau of a trusted ranking: three of four pairs in the same order. Two seeds of one full training reach some
0.9 (NAS-Bench-201), DPC's proxy some 0.3 (Spearman 0.36 to 0.47), so that its best had to be trained longer."""
AGREES_WITHIN_TOP = 0.2
"""Smallest tau within the top: three of five pairs. Two seeds of one full training reach no more than 0.4 there."""
TOP_SHARE, TOP_AT_LEAST = 3, 5
"""The top are the best by the longer training: one network in three, but at least five."""
FLAT = 0.5
"""Largest share of networks with the same short score. Above it the score ranks nothing, mostly because the training
is so short that all networks still predict background everywhere."""
DRAWS = 1000
"""Resamples of the networks for an interval of tau."""


@dataclass(frozen=True)
class Agreement:
    """Tau-b between two orders of ``networks``, and its 95 % interval; 0 where all values of one order are equal."""

    tau: float
    low: float
    high: float
    networks: int


@dataclass(frozen=True)
class Comparison:
    """Agreement with a longer training of the same networks: of the shortest training, and of mere counts."""

    short_iterations: int | None
    iterations: int
    provenance: str
    overall: Agreement
    top: Agreement
    params: Agreement
    macs: Agreement

    @property
    def verdict(self) -> str:
        if self.overall.tau < AGREES:
            return "do not trust it"
        return "trust it" if self.top.tau >= AGREES_WITHIN_TOP else "trust it overall but not within the top"


@dataclass(frozen=True)
class Noise:
    """Scatter of the scores of one network over its seeds.

    ``std`` is the standard deviation of a training's mIoU, pooled over ``networks`` with several seeds. Of the
    ``members`` of the front, ``alike`` differ from another member by less than noise explains in 95 of 100 cases.
    """

    std: float
    networks: int
    alike: int
    members: int


@dataclass(frozen=True)
class Trust:
    """Comparisons of at least five networks each, sorted by length of the longer training.

    The verdict is that of the longest training with enough networks, unless the short scores are too alike to rank.
    """

    verdict: str
    decisive: Comparison | None
    comparisons: list[Comparison]
    noise: Noise | None


def trust(run: Run) -> Trust:
    """Compare the shortest training of a run with its longer ones, if it has any."""
    trained = [trial for trial in run.trials if trial.is_finished and _known(trial)]
    short: dict[str, Trial] = {}
    for trial in sorted(trained, key=lambda trial: (trial.key.rung, trial.number)):
        short.setdefault(trial.id, trial)
    longer = _longer(run, trained, short)
    comparisons = [
        _comparison([short[network] for network in scores], np.array(list(scores.values())), *kind)
        for kind, scores in sorted(longer.items())
        if len(scores) >= TOP_AT_LEAST
    ]
    enough = [comparison for comparison in comparisons if comparison.overall.networks >= ENOUGH]
    most = max(map(len, longer.values()), default=0)
    so_far = f"{most or 'none'} {'were' if most > 1 else 'was'}"
    unknown = f"not known until at least {ENOUGH} networks are trained longer; {so_far} so far"
    return Trust(
        _flat(list(short.values())) or (enough[-1].verdict if enough else unknown),
        enough[-1] if enough else None,
        comparisons,
        _noise(run, trained),
    )


def trust_lines(run: Run) -> list[str]:
    """Say the same in a few lines, for the end of a search."""
    found = trust(run)
    lines = [f"the proxy's ranking: {found.verdict}"]
    if (best := found.decisive) is not None:
        overall, top = best.overall, best.top
        lines[0] += (
            f"; tau {overall.tau:.2f} ({overall.low:.2f} to {overall.high:.2f}) between {best.short_iterations} and "
            f"{best.iterations} iterations of {overall.networks} networks, {top.tau:.2f} within the best {top.networks}"
        )
        no_better = max(best.params.tau, best.macs.tau) >= overall.tau
        lines.append(
            f"merely counting reaches tau {best.params.tau:.2f} (params) and {best.macs.tau:.2f} (MACs)"
            + (": the short trainings rank no better" if no_better else "")
        )
    if (noise := found.noise) is not None:
        lines.append(
            f"noise: from seed to seed the mIoU of a network varies by {100 * noise.std:.2f} % (standard deviation, "
            f"{noise.networks} network{'s' if noise.networks > 1 else ''})"
        )
        if noise.members > 1:
            lines[-1] += (
                f"; {noise.alike} of the {noise.members} on the front are too close to another one to be told apart"
            )
    return lines


def _longer(run: Run, trained: list[Trial], short: dict[str, Trial]) -> dict[tuple[int, str], dict[str, float]]:
    """Collect mIoU by network for each kind of longer training, which is (iterations, provenance)."""
    seeds: dict[tuple[int, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for trial in trained:
        seeds[trial.iterations or 0, "proxy training"][trial.id].append(trial.miou or 0.0)
    for found in run.retrainings:
        seeds[found.iterations, found.provenance][found.id].append(found.miou)
    shortest = min((trial.iterations or 0 for trial in short.values()), default=0)
    return {
        kind: {network: fmean(scores) for network, scores in networks.items() if network in short}
        for kind, networks in seeds.items()
        if kind[0] > shortest
    }


def _comparison(short: list[Trial], scores: NDArray[np.float64], iterations: int, provenance: str) -> Comparison:
    """Compare the shortest training with one kind of longer training.

    Args:
        short: n trials of the shortest training, one per network.
        scores: mIoU (n,) of the same networks after the longer training, in 0…1.
        iterations: length of the longer training.
        provenance: how the longer training came about.
    """
    columns = {name: np.array([getattr(trial, name) for trial in short], float) for name in ("miou", "params", "macs")}
    count = min(len(short), max(TOP_AT_LEAST, -(-len(short) // TOP_SHARE)))
    best = np.argsort(-scores, kind="stable")[:count]
    return Comparison(
        short[0].iterations,
        iterations,
        provenance,
        overall=agreement(columns["miou"], scores),
        top=agreement(columns["miou"][best], scores[best]),
        params=agreement(columns["params"], scores),
        macs=agreement(columns["macs"], scores),
    )


def agreement(one: NDArray[np.float64], other: NDArray[np.float64]) -> Agreement:
    """Compute Kendall's tau-b of two values (n,) of n networks, with a percentile interval from resampled networks.

    Source: Kendall, "The treatment of ties in ranking problems", 1945.
    """
    signs, others = (np.sign(values[:, None] - values[None, :]) for values in (one, other))
    count = len(one)
    # Count of each network: once in the sample itself, then as drawn by resampling with replacement.
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWS)
    times = np.vstack([np.ones(count), drawn])
    concord, ranked, others_ranked = (
        np.einsum("di,di->d", times @ pairs, times) for pairs in (signs * others, signs**2, others**2)
    )
    norms = np.sqrt(ranked * others_ranked)
    taus = np.divide(concord, norms, out=np.zeros_like(norms), where=norms > 0)
    low, high = np.quantile(taus[1:], [0.025, 0.975])
    return Agreement(float(taus[0]), float(low), float(high), count)


def _flat(short: list[Trial]) -> str | None:
    """Say that the short trainings hardly tell any networks apart; empty where they do."""
    if len(short) < TOP_AT_LEAST:
        return None
    (score, count), *_ = Counter(round(trial.miou or 0.0, 4) for trial in short).most_common(1)
    if count <= FLAT * len(short):
        return None
    return (
        f"do not trust it: {count} of {len(short)} networks score {100 * score:.2f} %, which says nothing of them; "
        "train longer (proxy.iterations), or at a higher rate (proxy.lr)"
    )


def _noise(run: Run, trained: list[Trial]) -> Noise | None:
    repeated = [trial for trial in standing(trained) if trial.miou_std is not None]
    if not repeated:
        return None
    degrees = [trial.seeds - 1 for trial in repeated]
    std = float(
        np.sqrt(np.average([trial.miou_std**2 for trial in repeated if trial.miou_std is not None], weights=degrees))
    )
    members = [trial for trial in front(run.trials, run.objectives) if _known(trial)]
    miou = np.array([trial.miou for trial in members], float)
    shares = np.array([1 / trial.seeds for trial in members])
    alike = np.abs(miou[:, None] - miou) <= 1.96 * std * np.sqrt(shares[:, None] + shares)
    return Noise(std, len(repeated), int((alike.sum(axis=1) > 1).sum()), len(members))


def _known(trial: Trial) -> bool:
    return trial.miou is not None and bool(np.isfinite(trial.miou))
