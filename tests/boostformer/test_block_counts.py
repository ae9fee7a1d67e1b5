"""Every registered block costs what fvcore, the referee, counts: as it is trained and folded."""

from __future__ import annotations

import pytest
import torch
from block_cases import CASES, inputs, make, width_of

from boostformer.architecture import BlockSpec
from boostformer.blocks import registry
from boostformer.blocks.norms import LayerScale
from boostformer.fold import fold
from boostformer.layers import Branch
from evaluators.costs.counting import count
from evaluators.costs.referee import count_with_fvcore


@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_a_block_costs_what_fvcore_counts(kind: str, spec: BlockSpec) -> None:
    width = width_of(kind, spec)
    module = make(kind, spec)
    if kind in ("mixer", "ffn"):
        module = Branch(module, registry.construct("norm", BlockSpec("batch"), width), LayerScale(width))
    x = inputs(kind, 13, 17, width, batch=1)
    x = [one.to("meta") for one in x] if isinstance(x, list) else x.to("meta")
    for form in (module.to("meta"), fold(module)):
        found = count(form, x)
        assert found == count_with_fvcore(form, x)
        form, image = form.to(memory_format=torch.channels_last), x if isinstance(x, list) else [x]
        image = [one.to(memory_format=torch.channels_last) for one in image]
        assert count(form, image if isinstance(x, list) else image[0]) == found
