"""Methods of both clients: the calls of every group."""

from __future__ import annotations

from experiment_streams_client.calls.assignments import AssignmentCalls
from experiment_streams_client.calls.dry_runs import DryRunCalls
from experiment_streams_client.calls.experiments import ExperimentCalls
from experiment_streams_client.calls.holdouts import HoldoutCalls
from experiment_streams_client.calls.lifecycle import LifecycleCalls
from experiment_streams_client.calls.observations import ObservationCalls
from experiment_streams_client.calls.operation import OperationCalls
from experiment_streams_client.calls.planning import PlanningCalls
from experiment_streams_client.calls.statistics import StatisticsCalls
from experiment_streams_client.calls.variants import VariantCalls
from experiment_streams_client.calls.webhooks import WebhookCalls


class Methods(
    ExperimentCalls,
    VariantCalls,
    LifecycleCalls,
    DryRunCalls,
    AssignmentCalls,
    ObservationCalls,
    StatisticsCalls,
    HoldoutCalls,
    WebhookCalls,
    PlanningCalls,
    OperationCalls,
):
    """Methods of both clients. A new group is one class more."""
