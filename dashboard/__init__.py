"""The dashboard: a web application on top of the HTTP API, in a separate process.

It talks to the engine by the client alone, with the API key of the person who is signed in.
"""
