"""The services behind the endpoints: assign units, take observations, send commands."""
