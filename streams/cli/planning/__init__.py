"""`experiment plan`: how many units an experiment needs."""
