"""Who decides what to try next: run files, strategies, the engine and its workers, the command line."""
