"""Milliseconds measured on a Jetson over SSH, by the board's own trtexec."""
