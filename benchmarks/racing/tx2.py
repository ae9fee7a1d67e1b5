"""NAS-Bench-201 on CIFAR-10 with latencies measured on a Jetson TX2: every network was trained, two or three times.

Sources: Dong and Yang 2020 (NAS-Bench-201), Li et al. 2021 (HW-NAS-Bench).
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from boostformer.errors import UserError
from racing.landscape import Floats, Landscape, uniform
from search_space.encoding import Choice
from search_space.genes import Genes, GeneSpace

OPERATIONS = ("none", "skip", "conv1x1", "conv3x3", "pool3x3")
EDGES = ("0-1", "0-2", "1-2", "0-3", "1-3", "2-3")
RADICES = len(OPERATIONS) ** np.arange(len(EDGES))[::-1]


class TX2(Landscape):
    """15,625 networks of six flat choices. A training shows one of the seeds' accuracies; their mean is true."""

    name = "tx2"
    objectives = ("miou", "params", "latency_ms")
    # About two thirds of the networks fit.
    worst = (0.70, 0.59, 6.1)
    best = (0.92, 0.07, 0.5)
    listed = True

    def __init__(self, table: Path) -> None:
        if not table.is_file():
            raise UserError(f"tx2: no table {table}; --tx2 FILE says where nb201_cifar10_tx2.csv is")
        frame = pd.read_csv(table, dtype={"arch": str})
        digits = np.array([list(code) for code in frame["arch"]]).astype(int)
        frame = frame.iloc[np.argsort(digits @ RADICES)]
        self.genes = GeneSpace(tuple(Choice(f"edge{edge}", OPERATIONS) for edge in EDGES))
        self._costs = frame[["params_M", "tx2_ms"]].to_numpy(dtype=np.float64)
        self._seeds = frame[["val_acc_1", "val_acc_2", "val_acc_3"]].to_numpy(dtype=np.float64) / 100

    def all(self) -> Genes:
        return (np.arange(len(self._costs))[:, None] // RADICES % len(OPERATIONS)).astype(np.int16)

    def costs(self, genes: Genes) -> Floats:
        return self._costs[_rows(genes)]

    @cached_property
    def _mean(self) -> Floats:
        return np.nanmean(self._seeds, axis=1)

    def true(self, genes: Genes) -> Floats:
        return self._mean[_rows(genes)]

    def see(self, genes: Genes, seed: int) -> Floats:
        rows = _rows(genes)
        trained = 3 - np.isnan(self._seeds[rows]).sum(axis=1)  # what is missing stands last
        return self._seeds[rows, (uniform(genes, seed) * trained).astype(int)]


def _rows(genes: Genes) -> np.ndarray:
    return genes.astype(np.int64) @ RADICES
