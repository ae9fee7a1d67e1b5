"""Milliseconds estimated from a board's datasheet, kernel by kernel."""
