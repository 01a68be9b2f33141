"""The HTTP API: assigns units, accepts observations, sends commands and reads experiments.

`app` composes it. `http` has connections, routing, handlers and models, and `services` the logic of
the endpoints; `outbox`, `spool` and `delivery` pass a record from a request to Kafka; `snapshots`
and `receipts` keep in memory what Redis holds; `monitoring` has readiness and metrics.
"""
