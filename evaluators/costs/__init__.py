"""Exact parameters and MACs: counted part by part, looked up, summed for populations, held against budgets."""
