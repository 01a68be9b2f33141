"""Allocation policies, and the weights and buckets for assigning units. Pure."""
