"""Evaluation of networks: exact costs, latency, and the score of a proxy training."""
