"""Milliseconds predicted from a table of measured parts, corrected by whole networks."""
