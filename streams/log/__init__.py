"""The log, read from a place to its end by a command that then stops; no worker reads it so."""
