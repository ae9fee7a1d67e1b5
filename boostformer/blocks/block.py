"""Base classes of blocks: every hook that a block may have, with its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

Size = tuple[int, int]
"""(H, W) of a map, in positions."""
Options = Mapping[str, Any]
"""The value of every option of a block, by name."""
Runs = tuple[int, ...]
"""Lengths of the runs that an axis of a weight is made of, in their order; () for a single one."""
Channels = Tensor
"""(C,), float64: a number for each channel."""


class Foldable(nn.Module):
    """A module that can shed, for deployment, work that only training needs.

    :func:`boostformer.fold.fold` calls these methods on a copy in eval mode, children before their parents. What they
    do must hold exactly, and must follow from the structure alone: on the meta device there are no numbers to look
    at. Form products in double precision and store them in the weights' own (:mod:`boostformer.blocks.folding`).
    """

    def fold(self) -> nn.Module:
        """Return the deployed form: this module, changed in place, or another one that computes the same."""
        return self

    def absorb_input(self, scale: Channels, shift: Channels | None) -> bool:
        """Become ``self(scale * x + shift)``, with a factor and a term (C,) for each channel of the input.

        Return True after changing the weights so, or False after changing nothing.
        """
        return False

    def absorb_output(self, scale: Channels, shift: Channels | None) -> bool:
        """Become ``scale * self(x) + shift``, with a factor and a term (C,) for each channel of the output.

        Return True after changing the weights so, or False after changing nothing.
        """
        return False


class Block(Foldable):
    """A block that :func:`boostformer.blocks.registry.register` can declare; `registry.KINDS` lists inputs and outputs.

    None of the hooks has to be written: the defaults say that the block can stand anywhere, starts as its layers
    start, and is deployed as it is trained.
    """

    no_decay: ClassVar[tuple[str, ...]] = ()
    """Names of own parameters that take no weight decay though they have two or more dimensions; vectors never do."""

    @staticmethod
    def refusal(width: int, size: Size, options: Options) -> str | None:
        """Say why the block could not be built or run, or None when it can; what is refused is refused everywhere.

        This is the only check: ``__init__`` may rely on it. ``width`` is in channels, ``size`` (H, W) that of the
        map which the block works on (an embed's: the map it makes), ``options`` holds all of the block's options.
        """
        return None

    @staticmethod
    def out_of_reach(stage: int, size: Size, options: Options) -> str | None:
        """Say why no search should try the block in ``stage``, counted from 0, or None when it should.

        Search spaces refuse what is out of reach; an architecture may still ask for it by name. ``size`` and
        ``options`` are those of :meth:`refusal`.
        """
        return None

    def initialise(self) -> None:
        """Set starting weights that differ from those which :func:`boostformer.model.initialise` gives all layers."""

    def linear_parts(self) -> list[Tensor]:
        """Return the W_i of a fusion that is a sum over its maps x_i of ``upsample(W_i x_i)``, finest first.

        Each is (width, width) or (), float64; the decoder folds them into its projections. A fusion that writes this
        method is taken for linear.
        """
        raise NotImplementedError(f"{type(self).__name__} is no linear fusion")

    def runs(self) -> dict[str, tuple[Runs, Runs]]:
        """Name the weights whose rows or columns lie in several runs, such as heads, with the lengths of the runs.

        Of each weight by name: the runs of its outputs and those of its inputs. A network of another width inherits
        run by run (:mod:`boostformer.inheritance`).
        """
        return {}

    def take(self, other: Block) -> bool:
        """Compute what ``other`` does, or nearly: a trained block of another kind that is built for the same shape.

        Options that both have are equal, unless one does not allow the other's value. Return True after changing the
        weights so, or False after changing nothing.
        """
        return False

    @classmethod
    def is_linear(cls) -> bool:
        """Say whether the fusion writes :meth:`linear_parts`."""
        return cls.linear_parts is not Block.linear_parts
