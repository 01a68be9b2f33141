"""The engine from Python: `ExperimentClient`, `AsyncExperimentClient`, and publishers to Kafka.

The publishers stand apart, since they need Kafka's client library: `ObservationPublisher` in
`api.client.publisher`, and `ImpressionPublisher`, which mints receipts, beside it.
"""

from api.client.clients import DEFAULT_URL, AsyncExperimentClient, ExperimentClient
from api.client.errors import ApiError, ApiUnreachableError
from api.client.requests import Context, Observation
from api.client.results import Accepted, Assignment, Experiment, Refused, Rejected, Stats

__all__ = [
    "DEFAULT_URL",
    "Accepted",
    "ApiError",
    "ApiUnreachableError",
    "Assignment",
    "AsyncExperimentClient",
    "Context",
    "Experiment",
    "ExperimentClient",
    "Observation",
    "Refused",
    "Rejected",
    "Stats",
]
