"""From tallies to weights, and from weights to a variant. Pure."""
