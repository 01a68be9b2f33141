"""First receipts of units: kept in Redis, and by this process while Redis is away."""
