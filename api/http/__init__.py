"""HTTP of the API: connections and protocol, routing, fast path, models, pages and errors."""
