"""The search: run files, strategies, the study and its workers, and the command line."""
