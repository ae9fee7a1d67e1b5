"""The way from a trained network to a file for a device: export, the passes over its graph, parity, manifest."""
