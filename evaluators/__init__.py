"""What a network is worth and what it costs: exact counts, budgets, proxy training."""
