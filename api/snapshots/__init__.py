"""Experiments in memory: their newest snapshots, followed in Redis and compiled for assignment."""
