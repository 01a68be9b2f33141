"""The Faust shell: topics in, durable tables, topics and Redis out. Only here is Faust known."""
