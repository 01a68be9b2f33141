"""Allocation policies, and the weights and buckets by which units are assigned. Pure."""
