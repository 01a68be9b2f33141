"""Redis as a projection: what the workers write and the API reads. Everything can be rebuilt."""
