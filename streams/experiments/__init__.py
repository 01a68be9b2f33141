"""Experiments: definition, metrics, lifecycle, snapshot and assignment. Pure."""
