"""Parts of every long-running process: supervision, watchdog, logs, key reload, exit codes."""
