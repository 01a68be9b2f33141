"""Analysis of experiments: from definition and tally to statistics, evidence and action. Pure."""
