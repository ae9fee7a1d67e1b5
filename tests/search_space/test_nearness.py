"""How far networks are apart, and the network of a space that stands for one outside of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from boostformer import presets
from boostformer.architecture import BlockSpec
from search_space import read_space
from search_space.nearness import apart, distances, nearer, nearest_genes

SPACE = read_space("tiny")


def test_distances_are_0_to_itself_symmetric_and_grow_with_changes() -> None:
    rng = np.random.default_rng(0)
    genes = SPACE.genes.sample(rng, 20)
    found = distances(SPACE.genes, genes, genes)
    assert (found.diagonal() == 0).all() and (found == found.T).all() and (found <= 1).all()
    assert (found[~np.eye(20, dtype=bool)] > 0).all()
    near = SPACE.genes.mutate(genes, rng, 1)
    far = SPACE.genes.mutate(genes, rng, 8)
    assert distances(SPACE.genes, genes, near).diagonal().mean() < distances(SPACE.genes, genes, far).diagonal().mean()


def test_a_choice_more_leads_to_another_network_in_the_end() -> None:
    rng = np.random.default_rng(0)
    for here, goal in SPACE.genes.sample(rng, 20).reshape(10, 2, -1):
        while len(found := nearer(SPACE.genes, here, goal)):
            assert all(SPACE.decode(row) in SPACE for row in found)
            assert (found != here).any(axis=1).all()
            blocks = [column for column, parent in enumerate(SPACE.genes.parents) if parent is None]
            assert ((found != goal)[:, blocks].sum(axis=1) <= (here != goal)[blocks].sum()).all()
            assert (apart(SPACE.genes, found, goal) <= apart(SPACE.genes, here, goal)).all()
            here = found[rng.integers(len(found))]
        assert (here == goal).all()


def test_a_network_of_the_space_stands_for_itself() -> None:
    arch = SPACE.sample(np.random.default_rng(1))
    assert SPACE.decode(nearest_genes(SPACE, arch)) == arch
    assert SPACE.decode(nearest_genes(SPACE, arch.replace(classes=5, size=(64, 64)))) == arch


def test_another_network_has_its_nearest_numbers_and_its_blocks_where_the_space_has_them() -> None:
    arch = SPACE.sample(np.random.default_rng(2))
    widths = SPACE.slots["stages.0.width"]
    odd = replace(arch.stages[0], width=max(widths) + 1, mixer=BlockSpec.of("unheard_of"))
    found = SPACE.decode(nearest_genes(SPACE, replace(arch, stages=(odd, *arch.stages[1:]))))
    assert found.stages[0].width == max(widths)
    assert found.stages[0].mixer == SPACE.slots["stages.0.mixer"][0]
    assert found.stages[1:] == arch.stages[1:]
    assert SPACE.decode(nearest_genes(SPACE, presets.load("segformer_b2"))) in SPACE
