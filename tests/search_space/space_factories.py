"""Spaces for the tests: hypothesis strategies, and a small one by hand."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st

from search_space import SearchSpace, space_from_dict

STEMS: dict[str, dict[str, list[Any]]] = {"none": {}, "resizer": {"blocks": [1, 2], "shrink": [1, 2]}}
MIXERS: dict[str, dict[str, list[Any]]] = {
    "efficient_attention": {"heads": [1, 2, 4, 8], "reduction": [1, 2], "project": [False, True]},
    "mhsa": {"heads": [1, 2, 4]},
    "pooled_attention": {"heads": [1, 2], "pool": [3, 5, 7]},
    "pooling": {"kernel": [3, 5]},
    "reparam_depthwise": {"kernel": [3, 5, 7]},
    "separable_attention": {},
    "universal_inverted_bottleneck": {"start": [0, 3, 5], "middle": [0, 3], "ratio": [2, 3]},
}
FFNS: dict[str, dict[str, list[Any]]] = {
    "mix_ffn": {"ratio": [1, 2, 3, 4]},
    "mix_cfn": {"ratio": [2, 4], "activation": ["gelu", "hardswish"]},
    "conv_mlp": {"ratio": [4, 6]},
    "star": {"ratio": [2, 4]},
}
EMBEDS: dict[str, dict[str, list[Any]]] = {
    "overlap_conv": {"kernel": [3, 5, 7]},
    "pooling": {"kernel": [3, 7]},
}
FUSIONS: dict[str, dict[str, list[Any]]] = {
    "concat": {},
    "weighted_sum": {"normalised": [False, True]},
}
FIELDS = 39
"""Those of the stem, of four stages with nine each, and of the decoder."""


def space_dict(seed: int, free: int = FIELDS) -> dict[str, Any]:
    """The YAML form of a random legal space in which ``free`` of the fields have several values.

    From a seed rather than drawn value by value: hypothesis would take 50 ms for each space.
    """
    rng = random.Random(seed)
    open_fields = set(rng.sample(range(FIELDS), free))
    number = iter(range(FIELDS))

    def some(values: list[Any], most: int) -> list[Any]:
        return rng.sample(values, rng.randint(1, min(most, len(values))))

    def scalars(values: list[Any]) -> list[Any]:
        return some(values, 3 if next(number) in open_fields else 1)

    def blocks(known: dict[str, dict[str, list[Any]]]) -> dict[str, Any]:
        most = 3 if next(number) in open_fields else 1
        return {
            name: {option: some(values, most) for option, values in known[name].items() if rng.random() < 0.7}
            for name in some(sorted(known), most)
        }

    def stage(embeds: dict[str, dict[str, list[Any]]]) -> dict[str, Any]:
        return {
            "width": scalars([8, 16, 24, 40]),
            "depth": scalars([1, 2, 3, 5]),
            "embed": blocks(embeds),
            "mixer": blocks(MIXERS),
            "ffn": blocks(FFNS),
            "norm": scalars(["layer", "batch", "group"]),
            "arrangement": scalars(["pre", "post"]),
            "layer_scale": scalars([False, True]),
            "local_connection": scalars([False, True]),
        }

    stem = blocks(STEMS)
    first = {"overlap_conv": EMBEDS["overlap_conv"]} if "none" in stem else EMBEDS
    return {
        "version": 1,
        "size": "128x192",
        "classes": 5,
        "stem": stem,
        "stages": [stage(embeds) for embeds in (first, EMBEDS, EMBEDS, EMBEDS)],
        "decoder": {"width": scalars([8, 16, 32]), "fusion": blocks(FUSIONS)},
    }


seeds = st.integers(0, 2**32 - 1)
space_dicts = st.builds(space_dict, seeds, st.integers(0, FIELDS))
spaces = space_dicts.map(space_from_dict)
small_spaces = st.builds(space_dict, seeds, st.integers(0, 4)).map(space_from_dict)


def small_space() -> SearchSpace:
    """2 widths x (4 + 1 + 2) mixers x 2 ratios x (1 + 2) fusions = 84 networks."""
    fixed = {
        "width": 8,
        "depth": 1,
        "embed": {"overlap_conv": {}},
        "mixer": {"pooling": {}},
        "ffn": {"mix_ffn": {}},
    }
    attention = {"efficient_attention": {"heads": [1, 2], "reduction": [1, 2]}, "pooling": {}}
    first = fixed | {"width": [8, 16], "mixer": attention | {"mhsa": {"heads": [4, 8]}}}
    return space_from_dict(
        {
            "version": 1,
            "size": "64x64",
            "classes": 3,
            "stages": [first, fixed | {"ffn": {"mix_ffn": {"ratio": [2, 4]}}}, fixed, fixed],
            "decoder": {"width": 16, "fusion": {"concat": {}, "weighted_sum": {"normalised": [False, True]}}},
        }
    )
