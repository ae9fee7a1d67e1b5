"""One worker's loop, and the ways to start workers: local processes and launchers."""
