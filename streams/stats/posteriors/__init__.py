"""Posterior distributions of a metric's mean, one module for each family. Pure."""
