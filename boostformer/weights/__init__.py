"""Weights on disk: checkpoints of this program, and those of others that can be imported."""
