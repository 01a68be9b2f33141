"""Operation: the doctor, dead letters and the archive."""
