"""Experiment Streams: a real-time experimentation engine on Kafka, Faust and Redis.

Read in this order: `domain` (words and numbers), `tallies` (exact counts), `inference` and
`allocation` (what they mean, and who gets what), `experiments` (definitions, lifecycle, answers),
then the shells: `wire`, `redis_projection`, `engine`, `embedded`, `cli`.
"""
