"""`experiment demo`: an ads pipeline with known rates, and every count compared."""
