"""One class per metric kind: the values it allows, its priors, its posterior and its wording."""
