"""Storage of a run's study: a journal in its folder, or a database."""
