"""Pages: each module has `ROUTES`."""
