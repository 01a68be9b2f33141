"""Codecs between bytes and typed events, one module for each record.

Every decoding error is an `EventError` with a stable code. Equal values give equal bytes.
"""
