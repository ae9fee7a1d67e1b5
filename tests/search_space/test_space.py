"""What holds for every space: counting, enumeration, sampling, variation, encoding, round trips."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from space_factories import seeds, small_space, small_spaces, space_dicts, spaces

from boostformer.architecture import Architecture, BlockSpec, Scalar
from boostformer.blocks import registry
from boostformer.errors import UserError
from search_space import SearchSpace, slot_indices, space_from_dict, space_from_yaml
from search_space.encoding import INACTIVE
from search_space.genes import GeneSpace

generators = seeds.map(np.random.default_rng)


def fields(arch: Architecture) -> dict[str, Any]:
    """The architecture by the names of the slots."""
    found = {"stem": arch.stem}
    for i, stage in enumerate(arch.stages):
        found |= {f"stages.{i}.{f.name}": getattr(stage, f.name) for f in dataclasses.fields(stage)}
    return found | {f"decoder.{f.name}": getattr(arch.decoder, f.name) for f in dataclasses.fields(arch.decoder)}


def values(arch: Architecture) -> dict[str, Scalar]:
    """Everything that is chosen in the architecture, by the names of the choices."""
    found: dict[str, Scalar] = {}
    for name, value in fields(arch).items():
        if isinstance(value, BlockSpec):
            found |= {name: value.name} | {f"{name}.{value.name}.{key}": option for key, option in value.options}
        else:
            found[name] = value
    return found


def count_by_hand(data: dict[str, Any]) -> int:
    """The number of networks, straight from the YAML form."""

    def length(value: Any) -> int:
        if isinstance(value, dict):
            return sum(math.prod(len(values) for values in options.values()) for options in value.values())
        return len(value)

    parts = [{"stem": data["stem"]}, *data["stages"], data["decoder"]]
    return math.prod(length(value) for part in parts for value in part.values())


def every_row(space: GeneSpace, made: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Every way to make all active choices, one after the other."""
    if len(made) == len(space.choices):
        yield made
        return
    parent = space.parents[len(made)]
    active = parent is None or made[parent[0]] == parent[1]
    for gene in range(space.sizes[len(made)]) if active else [INACTIVE]:
        yield from every_row(space, (*made, gene))


def mutate(space: SearchSpace, arch: Architecture, rng: np.random.Generator, changes: int = 1) -> Architecture:
    return space.decode(space.genes.mutate(space.encode([arch]), rng, changes)[0])


def crossover(space: SearchSpace, a: Architecture, b: Architecture, rng: np.random.Generator) -> Architecture:
    return space.decode(space.genes.crossover(space.encode([a]), space.encode([b]), rng)[0])


@given(space_dicts)
@settings(max_examples=40)
def test_count_is_the_product_written_in_the_file(data: dict[str, Any]) -> None:
    assert space_from_dict(data).count == count_by_hand(data)


@given(small_spaces)
@settings(max_examples=30)
def test_enumeration_the_count_and_the_choices_agree(space: SearchSpace) -> None:
    everything = list(itertools.islice(space, 3000))
    assert len(set(everything)) == len(everything) == min(space.count, 3000)
    assert len({arch.id for arch in everything}) == len(everything)
    if space.count <= 3000:
        chosen = [space.decode(row) for row in every_row(space.genes)]
        assert len(chosen) == space.count
        assert set(chosen) == set(everything)


def test_enumeration_is_lazy_and_in_a_fixed_order() -> None:
    space = small_space()
    assert space.count == 84
    assert list(space) == list(space)
    first = next(iter(space))
    assert {name: variants[0] for name, variants in space.slots.items()} == fields(first)


@given(spaces, generators)
@settings(max_examples=40)
def test_samples_are_complete_legal_and_inside(space: SearchSpace, rng: np.random.Generator) -> None:
    arch = space.sample(rng)
    assert arch in space
    assert registry.complete(arch) == arch  # raises for what a block refuses
    assert Architecture.from_json(arch.to_json()) == arch
    assert (arch.size, arch.classes) == (space.size, space.classes)


@given(spaces, generators)
@settings(max_examples=40)
def test_genes_and_architecture_are_one_to_one(space: SearchSpace, rng: np.random.Generator) -> None:
    arch = space.sample(rng)
    genes = space.encode([arch])
    assert genes.shape == (1, len(space.choices)) and genes.dtype == np.int16
    assert space.decode(genes[0]) == arch
    found = values(arch)
    for choice, gene in zip(space.choices, genes[0], strict=True):
        assert (choice.values[gene] == found[choice.name]) if gene >= 0 else choice.name not in found


@given(spaces, generators)
@settings(max_examples=30)
def test_sampled_genes_are_networks_and_their_slots_agree(space: SearchSpace, rng: np.random.Generator) -> None:
    genes = space.genes.sample(rng, 20)
    archs = [space.decode(row) for row in genes]
    assert all(arch in space for arch in archs)
    assert np.array_equal(space.encode(archs), genes)
    indices = slot_indices(space, genes)
    for p, arch in enumerate(archs):
        assert {name: space.slots[name][index[p]] for name, index in indices.items()} == fields(arch)


def test_slot_indices_number_the_variants_in_order() -> None:
    space = small_space()
    indices = slot_indices(space, space.encode(space))
    mixers = indices["stages.0.mixer"]
    assert sorted(set(mixers.tolist())) == list(range(7))
    third = BlockSpec.of("efficient_attention", heads=2, project=True, reduction=1)
    assert space.slots["stages.0.mixer"][2] == third
    assert set(indices["stages.3.norm"].tolist()) == {0}  # a slot with a single variant


def test_blocks_are_sampled_uniformly_and_then_their_options() -> None:
    space, rng, n = small_space(), np.random.default_rng(0), 7000
    expected = {"efficient_attention": 1 / 12, "pooling": 1 / 3, "mhsa": 1 / 6}
    drawn = Counter(space.sample(rng).stages[0].mixer for _ in range(n))
    index = slot_indices(space, space.genes.sample(rng, n))["stages.0.mixer"]
    vectorised = Counter(space.slots["stages.0.mixer"][i] for i in index)
    for counts in (drawn, vectorised):
        assert set(counts) == set(space.slots["stages.0.mixer"])
        for spec, found in counts.items():
            p = expected[spec.name]
            assert abs(found - n * p) < 5 * math.sqrt(n * p * (1 - p)), spec


def test_equal_seeds_draw_equal_networks() -> None:
    space = small_space()
    one, two = np.random.default_rng(7), np.random.default_rng(7)
    assert [space.sample(one) for _ in range(20)] == [space.sample(two) for _ in range(20)]
    assert np.array_equal(space.genes.sample(one, 50), space.genes.sample(two, 50))


@given(spaces, generators, st.integers(1, 60))
@settings(max_examples=40)
def test_mutants_are_other_networks_with_few_changes(
    space: SearchSpace, rng: np.random.Generator, changes: int
) -> None:
    arch = space.sample(rng)
    mutant = mutate(space, arch, rng, changes)
    assert mutant in space
    before, after = fields(arch), fields(mutant)
    changed = [name for name in before if before[name] != after[name]]
    assert (1 if space.count > 1 else 0) <= len(changed) <= changes


def test_mutations_reach_every_network() -> None:
    space, rng = small_space(), np.random.default_rng(0)
    reached, frontier = set[Architecture](), [next(iter(space))]
    while frontier:
        arch = frontier.pop()
        reached.add(arch)
        frontier += {mutate(space, arch, rng) for _ in range(40)} - reached - set(frontier)
    assert reached == set(space)


def test_a_replaced_block_draws_its_options_anew() -> None:
    space, rng = small_space(), np.random.default_rng(0)
    arch = next(arch for arch in space if arch.stages[0].mixer.name == "pooling")
    mutants = {mutate(space, arch, rng).stages[0].mixer for _ in range(400)}
    assert mutants == set(space.slots["stages.0.mixer"])


def test_a_space_of_one_network_can_only_give_it() -> None:
    data = small_space().to_dict()
    for part in [*data["stages"], data["decoder"]]:
        for key, value in part.items():
            part[key] = {"pooling": {}} if key == "mixer" else value
            if isinstance(value, dict) and key != "mixer":
                name, options = next(iter(value.items()))
                part[key] = {name: {option: values[0] for option, values in options.items()}}
            elif isinstance(value, list):
                part[key] = value[0]
    space, rng = space_from_dict(data), np.random.default_rng(0)
    (only,) = space
    assert (space.count, space.choices) == (1, ())
    assert only == space.sample(rng) == mutate(space, only, rng) == crossover(space, only, only, rng)
    assert space.genes.sample(rng, 3).shape == (3, 0)
    assert space.decode(space.encode([only])[0]) == only


@given(spaces, generators)
@settings(max_examples=40)
def test_children_take_every_choice_from_a_parent(space: SearchSpace, rng: np.random.Generator) -> None:
    a, b = space.sample(rng), space.sample(rng)
    child = crossover(space, a, b, rng)
    assert child in space
    parents = [values(a), values(b)]
    for name, value in values(child).items():
        assert any(parent.get(name) == value for parent in parents), name
    assert crossover(space, a, a, rng) == a


def test_crossover_mixes_both_parents() -> None:
    space, rng = small_space(), np.random.default_rng(0)
    a, b = list(space)[0], list(space)[-1]
    children = {crossover(space, a, b, rng) for _ in range(200)}
    # Two widths, two mixers, two ratios, two fusions; the fusions' options have one parent each.
    assert len(children) == 16
    assert {a, b} <= children


@given(spaces)
@settings(max_examples=15)
def test_round_trips_are_exact(space: SearchSpace) -> None:
    data = space.to_dict()
    again = space_from_dict(json.loads(json.dumps(data)))
    assert again == space and again.fingerprint == space.fingerprint and again.choices == space.choices
    assert space_from_yaml(yaml.safe_dump(data, sort_keys=False)) == space
    assert space_from_yaml(yaml.safe_dump(data)).domains["decoder.width"] == space.domains["decoder.width"]


def test_bands_are_the_networks_and_come_back() -> None:
    space = small_space()
    four = space.replace(bands=4)
    assert "bands" not in space.to_dict() and space.replace(bands=3) == space
    assert space_from_dict(four.to_dict()) == four and four.fingerprint != space.fingerprint
    arch = four.sample(np.random.default_rng(0))
    assert arch.bands == 4 and arch in four and arch not in space
    assert four.decode(four.encode([arch])[0]) == arch
    with pytest.raises(UserError, match="bands 4, the space has 3"):
        space.encode([arch])


def test_fingerprint_tells_spaces_apart() -> None:
    space = small_space()
    others = [space.replace(size=(96, 64)), space.replace(classes=4)]
    data = space.to_dict()
    data["stages"][0]["width"] = [8, 24]
    others.append(space_from_dict(data))
    assert len({space.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_replace_changes_the_networks_and_not_the_choices() -> None:
    space = small_space()
    other = space.replace(size=(96, 128), classes=7)
    assert (other.choices, other.count) == (space.choices, space.count)
    arch = other.sample(np.random.default_rng(0))
    assert (arch.size, arch.classes) == ((96, 128), 7)
    assert arch not in space
    assert arch.replace(size=(64, 64), classes=3) in space


def test_a_network_outside_is_refused_with_the_reason() -> None:
    space = small_space()
    arch = next(iter(space))
    stage = arch.stages[0]
    wide = dataclasses.replace(arch, stages=(dataclasses.replace(stage, width=32), *arch.stages[1:]))
    mixer = BlockSpec.of("mhsa", heads=2)
    other = dataclasses.replace(arch, stages=(dataclasses.replace(stage, mixer=mixer), *arch.stages[1:]))
    for outside, reason in [
        (wide, r"stages\.0\.width 32, allowed: 8, 16"),
        (other, r"stages\.0\.mixer .*'mhsa', 'heads': 2.* is not among its 7 variants"),
        (arch.replace(classes=9), "classes 9, the space has 3"),
    ]:
        assert outside not in space
        with pytest.raises(UserError, match=reason):
            space.encode([arch, outside])
    assert "a word" not in space


def test_malformed_genes_are_refused() -> None:
    space = small_space()
    genes = space.encode([next(iter(space))])[0]
    with pytest.raises(ValueError, match="choices"):
        space.decode(genes[:-1])
    inactive = np.where(genes == -1, 0, genes)
    with pytest.raises(ValueError, match="belongs to no variant"):
        space.decode(inactive)
    with pytest.raises(ValueError, match="at least 1"):
        mutate(space, next(iter(space)), np.random.default_rng(0), changes=0)
