"""The Kafka cluster and the log: settings, topics, rights, positions, sources. No Faust."""
