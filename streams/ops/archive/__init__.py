"""Topics kept as files beyond the retention of Kafka; see `docs/how-to/archive-topics.md`."""
