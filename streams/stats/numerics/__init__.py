"""Numerical building blocks: series, root finding, tabulated distribution functions. Pure."""
