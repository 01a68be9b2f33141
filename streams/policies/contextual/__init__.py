"""Linear bandits: features of a request, their tallies, and a share for each request. Pure."""
