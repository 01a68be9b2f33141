"""`experiment replay`: the commands, what they show while they run, and afterwards."""
