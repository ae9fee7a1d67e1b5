"""Which networks there are: typed choices read from YAML; sampling, variation, encoding, counting.

Read ``encoding`` (choices, slots, genes), then ``space`` (what can be done with a space), then
``reader`` (the YAML form and its errors).
"""

from search_space.encoding import Block, Choice, Slot, slot_indices
from search_space.space import SearchSpace, read_space, shipped_spaces

__all__ = ["Block", "Choice", "SearchSpace", "Slot", "read_space", "shipped_spaces", "slot_indices"]
