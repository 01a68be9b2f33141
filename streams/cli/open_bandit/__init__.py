"""Real logged traffic: the sample of the Open Bandit Dataset, read and published."""
