"""The routes, by what they are for; `api.control` puts them together."""
