"""The dashboard: a web application on the HTTP API, in a process of its own.

It talks to the engine by the client alone, with the API key of the person who is signed in.
"""
