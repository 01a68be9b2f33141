"""Exact, additive statistics of assignments and observations. Pure.

`cell` declares the tallies with the table of `fields`; `builder` counts them, and `plan` defines
what is kept of an experiment besides sums.
"""
