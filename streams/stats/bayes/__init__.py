"""Bayesian quantities of posteriors: P(best), credible intervals, lift, value remaining. Pure."""
