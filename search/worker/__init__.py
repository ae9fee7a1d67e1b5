"""One worker's loop, and what starts workers: local processes and launchers."""
