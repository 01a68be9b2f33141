"""Decoding and folding the records of a source topic: the step that worker and replay share."""
