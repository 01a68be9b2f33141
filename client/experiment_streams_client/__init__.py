"""The engine from Python: `ExperimentClient`, `AsyncExperimentClient`, and publishers to Kafka.

The publishers stand apart, since they need Kafka's client library: `ObservationPublisher` in
`experiment_streams_client.publisher`, and `ImpressionPublisher`, which mints receipts, beside it.
"""

from experiment_streams_client.clients import DEFAULT_URL, AsyncExperimentClient, ExperimentClient
from experiment_streams_client.errors import ApiError, ApiUnreachableError
from experiment_streams_client.requests import Context, Observation
from experiment_streams_client.results import (
    Accepted,
    Assignment,
    Experiment,
    Refused,
    Rejected,
    Stats,
)

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
