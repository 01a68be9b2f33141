"""The engine from Python: `ExperimentClient`, `AsyncExperimentClient`, and publishers to Kafka.

The publishers stand in `api.client.publisher`, since they need Kafka's client library.
"""

from api.client.clients import DEFAULT_URL, AsyncExperimentClient, ExperimentClient
from api.client.errors import ApiError, ApiUnreachableError
from api.client.requests import Context, Observation
from api.client.results import Assignment, Experiment, Stats

__all__ = [
    "DEFAULT_URL",
    "ApiError",
    "ApiUnreachableError",
    "Assignment",
    "AsyncExperimentClient",
    "Context",
    "Experiment",
    "ExperimentClient",
    "Observation",
    "Stats",
]
