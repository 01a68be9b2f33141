"""The wire: Avro schemas, how records are framed, and the topics they travel on.

Imports nothing of the other packages, so that a producer elsewhere can take it alone.
"""
