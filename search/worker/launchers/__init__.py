"""Launchers: programs that start, follow and stop the workers of a run."""
