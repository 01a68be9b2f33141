"""Non-stationarity: decay, delayed conversions and stratification. Pure."""
