"""Inference that stays valid at every look: confidence sequences, contrasts, boundaries. Pure."""
