"""The datasheet estimate beside public measurements of other networks on the boards.

The constants of the estimate were fitted elsewhere, to more figures than these but including some of them. Fitting
them to the figures here makes the estimate worse for families of networks that were left out, so it is not done. But
the rules for which functions join a kernel, and how products are cut into tiles, were settled with these figures known.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import fmean

import torch
from reference_networks import NETWORKS, Network

from evaluators.costs.counting import count, shapes_only
from evaluators.latency.estimate.boards import boards
from evaluators.latency.estimate.estimate import UNKNOWN_ERROR, Estimate
from evaluators.latency.estimate.kernels import Kernel, kernels


def launched(name: str, network: Network) -> tuple[Kernel, ...]:
    """The kernels of one network; says how large it is beside what is published."""
    with shapes_only():
        module = network.build().eval()
        image = torch.empty(1, 3, *network.size)
    cost, found = count(module, image), kernels(module, [image])
    params = f"{cost.params / 1e6:.2f} M parameters"
    published = f", published {network.params:g} M with BatchNorm" if network.params else ""
    print(f"{name:24s}{cost.macs / 1e9:7.2f} GMACs, {len(found):3d} kernels, {params}{published}")
    return found


def summary(title: str, errors: Sequence[float]) -> str:
    error, bias = fmean(map(abs, errors)), fmean(errors)
    return (
        f"{title}: mean error {error:.1%}, bias {bias:+.1%}, worst {max(errors, key=abs):+.0%}, {len(errors)} figures"
    )


def main() -> None:
    start = time.perf_counter()
    everything = {name: launched(name, network) for name, network in NETWORKS.items()}
    errors: dict[str, list[float]] = defaultdict(list)
    inside = Counter[str]()
    for board in boards().boards:
        estimate = Estimate(board)
        compared = [(name, network) for name, network in NETWORKS.items() if board in network.published]
        if compared:
            print(f"\n{estimate.provenance()}\n{'':26s}published ms  estimated ms  error")
        for name, network in compared:
            expected, found = network.published[board], estimate.kernels_ms(everything[name])
            errors[board].append(found / expected - 1)
            low, high = (found * factor for factor in estimate.band)
            inside[board] += low <= expected <= high
            note = "  (published with transfers)" if network.transfers else ""
            print(f"{name:26s}{expected:12.2f}{found:14.2f}{errors[board][-1]:+7.0%}{note}")
    print()
    for board, found_errors in errors.items():
        print(f"{summary(board, found_errors)}, {inside[board]} of them within the band that is shown")
    print(summary("all", [error for found_errors in errors.values() for error in found_errors]))
    wide = [name for name, found in boards().boards.items() if found.error is None]
    print(f"too little to compare with, band ±{UNKNOWN_ERROR:.0%}: {', '.join(wide)}")
    print(f"{time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
