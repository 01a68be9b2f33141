"""Experiments: definition, lifecycle, report and assignment. Pure."""
