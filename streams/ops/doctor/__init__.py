"""Diagnosis of an installation: facts are gathered, and pure checks turn them into findings."""
