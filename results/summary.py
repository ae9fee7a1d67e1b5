"""One-line summary of an architecture, and the notation of its numbers for people."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from boostformer.architecture import NO_STEM, Architecture, Stage
from results.trial import MEMORY, OBJECTIVES

_LIKE = {
    "miou_std": "miou",
    "conv_linear_macs": "macs",
    "attention_macs": "macs",
    **dict.fromkeys(("latency_low_ms", "latency_high_ms", "final_latency_ms"), "latency_ms"),
    **dict.fromkeys(("final_low_ms", "final_high_ms", "final_labels_ms"), "latency_ms"),
}
"""Columns that are written like an objective, and which."""


_REASONS = {
    "nan": "the loss became no number",
    "out_of_memory": "out of memory",
    "too_long": "it took too long",
}
"""Reasons whose words need more."""

NOTATION = (
    "An architecture in short, such as `32x2 64x2 overlap_conv/msca+mix_ffn | 160x2 256x2 pooling/pooling+star | "
    "concat 128`: of each stage, the finest first, its width x depth; behind stages that have the same blocks their "
    "embed/mixer+FFN; at the end the decoder's fusion and width. A stem comes first; options are left out."
)
"""Explanation of :func:`summary` for people."""


def summary(architecture: Mapping[str, Any], separator: str = " | ") -> str:
    """Summarise as ``32x2 64x2 overlap_conv/efficient_attention+mix_ffn | 160x2 256x2 … | weighted_sum 128``.

    Each stage is width x depth, then embed/mixer+FFN; neighbouring stages of the same blocks are taken together. A
    stem, if there is one, comes first, the decoder's fusion and width last. Options (heads, …) are left out.

    Raises :class:`boostformer.errors.UserError` when ``architecture`` is not what ``Architecture.to_dict``
    writes.
    """
    network = Architecture.from_dict(dict(architecture))
    parts = [
        " ".join([*(f"{stage.width}x{stage.depth}" for stage in stages), blocks])
        for blocks, stages in groupby(network.stages, key=_blocks)
    ]
    stem = [network.stem.name] if network.stem != NO_STEM else []
    return separator.join([*stem, *parts, f"{network.decoder.fusion.name} {network.decoder.width}"])


def why(reason: str | None) -> str:
    """Word for people why a trial ended without a result; a training's own reasons are stored as single words."""
    return "no reason is known" if reason is None else _REASONS.get(reason, reason)


def human(column: str, value: float | None) -> str:
    """Write a value of a trial's ``column`` with its unit; empty where it is unknown."""
    if value is None:
        return ""
    if (named := OBJECTIVES.get(_LIKE.get(column, column))) is not None:
        return named.show(value)
    if column in MEMORY:
        return f"{value:.3f} MB"
    if column == "seconds":
        return f"{value:.1f} s"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def limits(budgets: Mapping[str, float]) -> str:
    """Write budgets for people: ``params at most 3.000 M, macs at most 1.000 G``; ``none`` where there are none."""
    return ", ".join(f"{name} at most {human(name, limit)}" for name, limit in budgets.items()) or "none"


def _blocks(stage: Stage) -> str:
    return f"{stage.embed.name}/{stage.mixer.name}+{stage.ffn.name}"
