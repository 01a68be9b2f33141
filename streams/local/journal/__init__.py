"""The log of the embedded broker on disk, from which a stack that starts again continues."""
