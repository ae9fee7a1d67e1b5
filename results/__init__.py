"""What came out of a search: records, the Pareto front, tables and plots. Torch-free, and quick to import."""
