"""What the Kafka cluster says of itself: whether it answers, its topics, and what is allowed."""
