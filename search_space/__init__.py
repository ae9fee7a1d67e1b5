"""Search spaces: which networks there are, as typed choices read from YAML.

Read ``encoding`` (slots, choices, genes), then ``genes`` (populations as arrays), ``space`` (what can be done with
a space), ``reader`` (the YAML form and its errors), and ``around`` (the space around one network).
"""

from search_space.around import space_around
from search_space.encoding import Block, Choice, Slot
from search_space.reader import read_space, shipped_spaces, space_at, space_from_dict, space_from_yaml
from search_space.space import SearchSpace, slot_indices
from search_space.writer import space_to_yaml

__all__ = [
    "Block",
    "Choice",
    "SearchSpace",
    "Slot",
    "read_space",
    "shipped_spaces",
    "slot_indices",
    "space_around",
    "space_at",
    "space_from_dict",
    "space_from_yaml",
    "space_to_yaml",
]
