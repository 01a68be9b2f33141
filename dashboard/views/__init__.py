"""View models: pure functions from answers of the API to what templates show."""
