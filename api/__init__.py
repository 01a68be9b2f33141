"""The HTTP API: assigns units, takes observations, sends commands and reads experiments.

`app` composes it. `http` has connections, routing, handlers and models, `services` the work of the
endpoints; `outbox`, `spool` and `delivery` take a record from a request to Kafka; `snapshots` and
`receipts` keep in memory what Redis holds; `monitoring` has readiness and metrics.
"""
