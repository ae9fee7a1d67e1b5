"""Configuration of a search: the run file, and the experiment that it resolves to."""
