"""Results of a search: trials, the Pareto front, tables and plots. Needs no torch, so it is quick to import."""
