"""Readiness and metrics of an API process."""
