"""The Faust shell: topics in, durable tables, topics and Redis out. The only place that knows Faust."""
