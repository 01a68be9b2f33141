"""The wire format: Avro schemas, the framing of records, and the catalogue of topics.

It imports no other package of the project, so that a producer can use it alone.
"""
