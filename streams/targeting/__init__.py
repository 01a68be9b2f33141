"""Targeting: rules over the attributes of a request that select those of an experiment."""
