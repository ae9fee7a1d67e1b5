"""Milliseconds of a network or of a part of it, always with where they come from."""
