"""Every decoder against any bytes: by coverage (`make fuzz`), and for seconds in `make test`."""
