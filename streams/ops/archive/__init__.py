"""Topics kept as files, because retention ends and experiments do not; `docs/archive.md`."""
