"""Assignment in the process of the caller: `LocalAssigner`.

Needs the extra `local`, and `kafka` besides for impressions that go to Kafka directly.
"""

from experiment_streams_client.local.assigner import LocalAssigner
from experiment_streams_client.local.assignments import LocalAssignment, LocalRequest
from experiment_streams_client.local.delivery import ApiSink, Sink
from streams.model.receipts import Keyring

__all__ = ["ApiSink", "Keyring", "LocalAssigner", "LocalAssignment", "LocalRequest", "Sink"]
