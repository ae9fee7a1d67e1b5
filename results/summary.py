"""One short line about an architecture, and how its numbers are written for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from boostformer.architecture import NO_STEM, Architecture, Stage


def summary(architecture: Mapping[str, Any], separator: str = " | ") -> str:
    """``32x2 64x2 overlap_conv/efficient_attention+mix_ffn | 160x2 256x2 … | weighted_sum 128``.

    Width x depth of each stage, then embed/mixer+FFN, neighbouring stages of the same blocks taken
    together; first a stem if there is one, last the decoder's fusion and width. Options (heads, …) are left out.

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


def human(column: str, value: float | None) -> str:
    """A value of a record's ``column`` with its unit; empty where it is unknown."""
    if value is None:
        return ""
    if column in ("miou", "miou_std"):
        return f"{100 * value:.2f} %"
    if column == "params":
        return f"{_short(value / 1e6)} M"
    if column in ("macs", "conv_linear_macs", "attention_macs"):
        return f"{_short(value / 1e9)} G"
    if column.endswith("_ms"):
        return f"{value:.2f} ms"
    if column == "seconds":
        return f"{value:.1f} s"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _short(value: float) -> str:
    """Three decimals, and three significant digits at least: 62.338, 0.127, 0.00193."""
    digits = 3 if value <= 0 else max(3, 2 - math.floor(math.log10(value)))
    return f"{value:.{digits}f}"


def _blocks(stage: Stage) -> str:
    return f"{stage.embed.name}/{stage.mixer.name}+{stage.ffn.name}"
