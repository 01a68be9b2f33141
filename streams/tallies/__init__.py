"""Exact, additive statistics of what was assigned and observed. Pure.

`cell` declares what is counted, by the table of `fields`; `builder` counts it, and `plan` says what
is kept of an experiment besides sums.
"""
