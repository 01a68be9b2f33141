"""How many units an experiment needs, and how long that takes. Pure."""
