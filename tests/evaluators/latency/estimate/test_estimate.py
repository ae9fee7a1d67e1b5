"""The datasheet estimate: by hand, as a sum over parts, and against public measurements."""

from __future__ import annotations

from itertools import permutations
from statistics import fmean

import pytest
import torch

from benchmarks.reference_networks import NETWORKS
from boostformer import build, presets
from boostformer.errors import UserError
from boostformer.figures import Figure
from boostformer.fold import fold
from boostformer.parts import labels_part, parts
from evaluators.costs.counting import shapes_only
from evaluators.latency.estimate import estimate as module
from evaluators.latency.estimate.boards import Mode, board, boards
from evaluators.latency.estimate.estimate import Estimate
from evaluators.latency.estimate.kernels import Kernel, kernels

ARCH = presets.load("boostformer_b0", size=(128, 192))
BUSY = Kernel("conv", 1000, 1, 6400, 64, 5760)
"""Of 64 by 64 tiles, so that nothing is padded."""


def test_one_kernel_by_hand() -> None:
    nano = Estimate("jetson-nano")
    peak = 512 * 921.6e6  # FLOP/s in FP16
    assert nano.kernels_ms([BUSY]) == pytest.approx(1e3 * 2 * BUSY.macs / (0.95 * peak) + 0.060)
    memory = Kernel("memory", 10**6)
    assert nano.kernels_ms([memory]) == pytest.approx(1e3 * 2 * 10**6 / (0.47 * 25.6e9) + 0.060)
    traffic = Kernel("conv", 10**6, 1, 64, 64, 1)
    assert nano.kernels_ms([traffic]) == nano.kernels_ms([memory])
    assert nano.kernels_ms([BUSY, memory]) == nano.kernels_ms([BUSY]) + nano.kernels_ms([memory])
    assert nano.kernels_ms([]) == 0


def test_half_tiles_cost_as_much_as_whole_ones() -> None:
    nano = Estimate("jetson-nano")
    assert nano.kernels_ms([Kernel("conv", 1000, 1, 6400, 33, 5760)]) == nano.kernels_ms([BUSY])


def test_a_launch_becomes_slower_with_the_clock() -> None:
    empty = [Kernel("memory", 0)]
    assert Estimate("jetson-nano", "5W").kernels_ms(empty) == pytest.approx(0.060 * 921.6 / 640)
    assert Estimate("jetson-orin-nano").kernels_ms(empty) == pytest.approx(0.009 * 1300.5 / 1020)


def test_a_network_takes_as_long_as_its_parts() -> None:
    orin = Estimate("jetson-agx-orin")
    found = orin.latency(ARCH, labels=True)
    listed = list(parts(ARCH, deployed=True))
    assert found.ms == pytest.approx(sum(times * orin.part(part) for _, part, times in listed))
    assert found.labels_ms == pytest.approx(found.ms + orin.part(labels_part(ARCH)))
    low, high = orin.band
    assert found.figure == Figure(found.ms, found.ms * low, found.ms * high)
    assert found.provenance == orin.provenance()
    assert orin.latency(ARCH).labels_ms is None


def test_cutting_a_network_into_parts_hardly_changes_its_time() -> None:
    """What stands at a cut cannot join the kernel before it."""
    with shapes_only():
        network, image = fold(build(ARCH).eval(), in_place=True), torch.empty(1, 3, *ARCH.size)
    xavier = Estimate("jetson-agx-xavier")
    assert xavier.latency(ARCH).ms == pytest.approx(xavier.kernels_ms(kernels(network, [image])), rel=0.03)


def test_a_part_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    nano = Estimate("jetson-nano")
    first = nano.latency(ARCH)

    def never(part: object) -> tuple[Kernel, ...]:
        raise AssertionError(f"traced again: {part}")

    monkeypatch.setattr(module, "part_kernels", never)
    assert nano.latency(ARCH) == first
    assert all(nano.part(part) > 0 for role, part, _ in parts(ARCH, deployed=True) if role != "stem.stem")


@pytest.mark.parametrize("name", boards().boards)
def test_no_network_is_faster_at_lower_clocks_or_in_fp32(name: str) -> None:
    found = board(name)
    ms = {mode: Estimate(name, mode).latency(ARCH).ms for mode in found.modes}
    for one, other in permutations(found.modes, 2):
        if _at_least(found.modes[one], found.modes[other]):
            assert ms[one] <= ms[other], (one, other)
    assert ms[found.default_mode] == min(ms.values()) == Estimate(name).latency(ARCH).ms
    assert ms[found.default_mode] <= Estimate(name, precision="fp32").latency(ARCH).ms


def _at_least(one: Mode, other: Mode) -> bool:
    return (
        one.gpu_mhz >= other.gpu_mhz
        and one.multiprocessors >= other.multiprocessors
        and one.memory_mhz >= other.memory_mhz
    )


def test_figures_say_what_they_were_estimated_from() -> None:
    assert str(Estimate("jetson-nano").provenance()) == "estimated: datasheet, Jetson Nano, fp16, MAXN, batch 1"
    slow = Estimate("jetson-orin-nx", "15W", "fp32")
    assert str(slow.provenance()) == "estimated: datasheet, Jetson Orin NX 16GB, fp32, 15W, batch 1"


def test_the_band_is_wide_where_nothing_was_compared() -> None:
    assert Estimate("jetson-nano").band == (0.85, 1.15)
    assert Estimate("jetson-nano", "MAXN").band == (0.85, 1.15)
    assert Estimate("jetson-agx-orin").band == (0.85, 1.15)
    for other in (Estimate("jetson-nano", "5W"), Estimate("jetson-nano", precision="fp32"), Estimate("jetson-tx2")):
        assert other.band == (0.5, 1.5)


def test_unknown_boards_and_modes_are_refused() -> None:
    with pytest.raises(UserError, match="board: unknown 'agx-orin'; did you mean 'jetson-agx-orin'"):
        Estimate("agx-orin")
    with pytest.raises(UserError, match="power_mode: Jetson AGX Orin 64GB has no 'MODE_60W'; did you mean 'MODE_50W'"):
        Estimate("jetson-agx-orin", "MODE_60W")


def test_the_mean_error_on_public_figures_is_within_the_band_that_is_shown() -> None:
    launched = {}
    for name, network in NETWORKS.items():
        with shapes_only():
            built, image = network.build().eval(), torch.empty(1, 3, *network.size)
        launched[name] = kernels(built, [image])
    for name, found in boards().boards.items():
        compared = {key: net.published[name] for key, net in NETWORKS.items() if name in net.published}
        assert (len(compared) > 1) == (found.error is not None)
        if found.error is not None:
            estimate = Estimate(name)
            mean = fmean(abs(estimate.kernels_ms(launched[key]) / ms - 1) for key, ms in compared.items())
            assert found.error / 2 < mean <= found.error, name
