"""Rates that change and conversions that are late: decay, delays, stratification. Pure."""
