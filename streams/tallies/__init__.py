"""Exact, additive statistics of what was assigned and observed. Pure.

`cell` is what is counted; `impressions` and `observations` fold the records of one partition into
it; `window` and `sequences` remember what has been counted already.
"""
