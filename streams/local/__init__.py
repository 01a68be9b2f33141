"""The whole stack on one machine, without Docker or Java: real servers as supervised children.

`children` (one process), `tansu` and `valkey` (the two servers), `plan` (addresses, directories and
environments), `supervisor` (start in order, restart, stop in reverse), `journal` (the log on disk),
`stack_files` (the stacks that run on this machine).
"""
