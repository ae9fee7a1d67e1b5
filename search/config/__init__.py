"""What a search is asked to do: the run file, and what it resolves to."""
