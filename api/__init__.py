"""The assignment API: HTTP in front of the log and of what Redis holds.

`app` composes it, `edge` is the fast path, `control` the rest of the routes; `client` is a client.
"""
