"""Weights: which there are, where they lie, and how published files become checkpoints."""
