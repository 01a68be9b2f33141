"""The whole stack on one machine, without Docker or Java: real servers as supervised children.

`children` (one process), `tansu` and `valkey` (the two servers), `plan` (what runs, and with which
environment), `supervisor` (start in order, restart, stop in reverse), `registry` (who runs here).
"""
