"""The engine from Python: `ExperimentClient`, `AsyncExperimentClient`, and publishers to Kafka.

The publishers stand apart, since they need Kafka's client library: `ObservationPublisher` in
`experiment_streams_client.publisher`, and `ImpressionPublisher`, which mints receipts, beside it.
"""

from api.http.models.dry_run import DryRun
from api.http.models.history import HistoryItem
from api.http.models.requests import (
    AssignmentContext,
    ExposureRequest,
    ObservationRequest,
    VoidRequest,
)
from api.http.models.responses import (
    Accepted,
    Assignment,
    Caller,
    ErrorDetails,
    Experiment,
    Holdout,
    Rejected,
)
from api.http.models.summaries import ListedExperiment
from api.http.models.webhooks import Webhook
from experiment_streams_client.clients import DEFAULT_URL, AsyncExperimentClient, ExperimentClient
from experiment_streams_client.errors import ApiError, ApiUnreachableError
from experiment_streams_client.stats_streams import StatsEvent
from streams.experiments.stats_response import Stats
from streams.experiments.timeseries_response import Timeseries
from streams.webhooks.signing import new_secret as new_webhook_secret

__all__ = [
    "DEFAULT_URL",
    "Accepted",
    "ApiError",
    "ApiUnreachableError",
    "Assignment",
    "AssignmentContext",
    "AsyncExperimentClient",
    "Caller",
    "DryRun",
    "ErrorDetails",
    "Experiment",
    "ExperimentClient",
    "ExposureRequest",
    "HistoryItem",
    "Holdout",
    "ListedExperiment",
    "ObservationRequest",
    "Rejected",
    "Stats",
    "StatsEvent",
    "Timeseries",
    "VoidRequest",
    "Webhook",
    "new_webhook_secret",
]
