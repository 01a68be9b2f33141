"""What every long-running process needs: supervision, a watchdog, logs, keys, and how to end."""
