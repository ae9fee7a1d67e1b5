"""A synthetic hierarchical space: four stages whose mixers have options of their own, three objectives.

Accuracy saturates with capacity, which counts for more where the mixer suits the stage. The fit depends on
the options, on the neighbouring stage and on triples of choices, so no sum over single choices predicts it.
"""

from __future__ import annotations

import numpy as np

from racing.landscape import Floats, Landscape, normal
from search_space.encoding import Choice
from search_space.genes import Genes, GeneSpace

STAGES = 4
MIXERS = ("identity", "pooling", "convolution", "attention", "inverted")
WIDTHS = np.array([[16, 24, 32, 40], [32, 48, 64, 80], [64, 96, 128, 160], [96, 144, 192, 256]])
DEPTHS = (1, 2, 3, 4)
RATIOS = (2, 3, 4)
OPTIONS: dict[str, dict[str, tuple[int, ...]]] = {
    "pooling": {"kernel": (3, 5)},
    "convolution": {"kernel": (3, 5, 7), "groups": (1, 4)},
    "attention": {"heads": (1, 2, 4), "reduction": (1, 2, 4), "window": (4, 8)},
    "inverted": {"ratio": (2, 3, 4), "kernel": (3, 5, 7)},
}
HEADS = ("sum", "concat", "pyramid")
NOISE = 0.006
"""Standard deviation of the accuracy between two trainings of a network."""


def _choices() -> list[Choice]:
    choices = []
    for stage in range(STAGES):
        choices += [Choice(f"{stage}.width", tuple(WIDTHS[stage].tolist())), Choice(f"{stage}.depth", DEPTHS)]
        choices += [Choice(f"{stage}.ratio", RATIOS), Choice(f"{stage}.mixer", MIXERS)]
        for mixer, options in OPTIONS.items():
            choices += [
                Choice(f"{stage}.{mixer}.{option}", values, (f"{stage}.mixer", mixer))
                for option, values in options.items()
            ]
    return [*choices, Choice("head", HEADS), Choice("head.width", (32, 64, 128))]


class Hierarchical(Landscape):
    """Some 10^12 networks of 50 choices, at most 30 of them active at once; about a third fits the budgets."""

    name = "h"
    objectives = ("miou", "params", "macs")
    worst = (0.38, 1.1, 1.35)
    best = (0.65, 0.1, 0.1)

    def __init__(self) -> None:
        self.genes = GeneSpace(tuple(_choices()))
        self._column = {choice.name: column for column, choice in enumerate(self.genes.choices)}
        rng = np.random.RandomState(5)  # noqa: NPY002 (its stream never changes)
        self._mixers = rng.normal(0, 0.22, (STAGES, len(MIXERS))) + np.array([-0.35, -0.15, 0.05, 0.1, 0.1])
        # Attention pays where the map is small, convolutions where it is large.
        self._mixers += np.outer(np.linspace(-1, 1, STAGES), [0.0, 0.0, -0.2, 0.35, -0.05])
        self._options = {
            choice.name: rng.normal(0, 0.16, len(choice.values)) for choice in self.genes.choices if choice.condition
        }
        self._neighbours = rng.normal(0, 0.16, (STAGES - 1, len(MIXERS), len(MIXERS)))
        self._ratios = rng.normal(0, 0.12, (STAGES, len(MIXERS), len(RATIOS)))
        self._triples = rng.normal(0, 0.12, (STAGES, len(MIXERS), len(DEPTHS), 4))
        self._head = rng.normal(0, 0.15, (len(HEADS), len(MIXERS))) + np.array([[0.0], [0.1], [0.15]])

    def _gene(self, genes: Genes, name: str) -> np.ndarray:
        return genes[:, self._column[name]].astype(np.int64)

    def _value(self, genes: Genes, name: str) -> np.ndarray:
        """The chosen value; that of the first gene where the choice is inactive."""
        column = self._column[name]
        return np.array(self.genes.choices[column].values)[np.maximum(genes[:, column], 0)]

    def costs(self, genes: Genes) -> Floats:
        """Millions of parameters and billions of MACs."""
        params, macs = np.zeros(len(genes)), np.zeros(len(genes))
        before = np.full(len(genes), 3.0)
        for stage in range(STAGES):
            pixels = (128 / 2**stage) ** 2
            width, depth, ratio = (self._value(genes, f"{stage}.{name}") for name in ("width", "depth", "ratio"))
            mixer = self._gene(genes, f"{stage}.mixer")
            weights = np.select(
                [mixer == 2, mixer == 3, mixer == 4],
                [
                    (self._value(genes, f"{stage}.convolution.kernel") ** 2 * width)
                    + width**2 / self._value(genes, f"{stage}.convolution.groups"),
                    4.0 * width**2,
                    2 * width**2 * self._value(genes, f"{stage}.inverted.ratio")
                    + self._value(genes, f"{stage}.inverted.kernel") ** 2 * width,
                ],
                0.0,
            )
            products = np.where(
                mixer == 3,
                2 * width * pixels * pixels / (16 * self._value(genes, f"{stage}.attention.reduction") ** 2),
                0.0,
            )
            block = weights + 2 * ratio * width**2
            embed = 9 * before * width
            params += depth * block + embed
            macs += pixels * (depth * block + embed) + depth * products
            before = width
        head = self._value(genes, "head.width") * (1 + self._gene(genes, "head"))
        params += head * before
        macs += head * before * 128**2 / 4
        return np.column_stack([params / 1e6, macs / 1e9])

    def true(self, genes: Genes) -> Floats:
        mixers = [self._gene(genes, f"{stage}.mixer") for stage in range(STAGES)]
        capacity = np.zeros(len(genes))
        for stage, mixer in enumerate(mixers):
            width, depth, ratio = (self._gene(genes, f"{stage}.{name}") for name in ("width", "depth", "ratio"))
            suits = self._mixers[stage, mixer] + self._ratios[stage, mixer, ratio]
            suits += self._triples[stage, mixer, depth, width]
            if stage:
                suits += self._neighbours[stage - 1, mixers[stage - 1], mixer]
            for name, options in self._options.items():
                if name.startswith(f"{stage}."):
                    gene = self._gene(genes, name)
                    suits += np.where(gene >= 0, options[gene], 0.0)
            size = np.log2(DEPTHS)[depth] + 1.5 * np.log2(WIDTHS[stage] / WIDTHS[stage, 0])[width]
            capacity += (0.5 + 0.4 * size + 0.25 * np.log2(RATIOS)[ratio]) * np.exp(suits)
        head = self._head[self._gene(genes, "head"), mixers[-1]] + 0.08 * self._gene(genes, "head.width")
        capacity *= np.exp(head)
        return 0.65 * (1 - np.exp(-0.18 * capacity))

    def see(self, genes: Genes, seed: int) -> Floats:
        return self.true(genes) + NOISE * normal(genes, seed)
