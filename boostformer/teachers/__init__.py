"""Teachers: trained networks, or their stored logits, that a student learns from beside its labels.

Read ``teacher``, then ``networks`` and ``stored``; ``opening`` makes one of a name.
"""
