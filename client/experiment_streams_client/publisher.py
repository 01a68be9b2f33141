"""Observations straight to Kafka, for pipelines with much to send."""

from __future__ import annotations

from experiment_streams_client.outbox import DeliveryError, KafkaConfig, Outbox, Publisher, now_ms
from schemas.catalogue import OBSERVATIONS
from streams.experiments.exposure import WINDOWS_BY_EXPOSURE, Exposure
from streams.model.attribution import check_attribution
from streams.model.events import EXPOSED, EXPOSURE, Observation
from streams.model.quantities import MICRO, to_micro
from streams.model.receipt_layout import check_form
from streams.model.receipts import Keyring
from streams.model.voids import check_voidable, void_metric
from streams.wire.observations import encode_observation

__all__ = ["DeliveryError", "ObservationPublisher"]


class ObservationPublisher(Publisher):
    """Publishes observations to Kafka: idempotent, batched, compressed, acknowledged by all.

    A record's key is its assignment id, and the partitioner that of Kafka's Java client, so that
    an event sent twice by different programs meets itself in one partition and counts once.

    Args:
        kafka: Addresses, as `host:port,host:port`, or a configuration of librdkafka.
        topic: The topic of observations, with the prefix of the installation.
        keyring: Verifies assignment ids before they are sent. Without it their form is checked
            only, and a forged one ends among the dead letters.
        queue_timeout_s: How long `publish` waits for room in a full queue, in seconds.

    Examples:
        ```
        with ObservationPublisher("localhost:9092") as publisher:
            publisher.publish(assignment_id, "click", 1, event_id="click_1")
            publisher.publish(assignment_id, "revenue", 49.99, event_id="order_1")
        ```
    """

    def __init__(
        self,
        kafka: str | KafkaConfig,
        *,
        topic: str = OBSERVATIONS.name,
        keyring: Keyring | None = None,
        queue_timeout_s: float = 30.0,
    ) -> None:
        super().__init__(Outbox(kafka, topic, queue_timeout_s=queue_timeout_s))
        self._keyring = keyring

    def publish(
        self,
        assignment_id: str,
        metric: str,
        value: float,
        event_id: str | None = None,
        observed_at_ms: int | None = None,
    ) -> None:
        """Hand an observation over; it is on its way when this returns.

        Args:
            assignment_id: `Assignment.id`.
            metric: Name of the metric.
            value: In units of the metric.
            event_id: The sender's name of the event; the same one for the same assignment and
                metric counts once. Without one every record counts.
            observed_at_ms: Time of the event, in milliseconds since the epoch; the record's time
                unless given.

        Raises:
            ReceiptError: the assignment id is malformed, forged or expired; nothing was sent.
            EventError: the value is not finite or too large; nothing was sent.
            DeliveryError: an earlier record was not delivered, or the queue stays full.
        """
        record = self._record(assignment_id, metric, value, event_id, observed_at_ms)
        self._outbox.put(record, key=assignment_id.encode())

    def publish_exposure(
        self, assignment_id: str, event_id: str | None = None, observed_at_ms: int | None = None
    ) -> None:
        """Hand over that an assigned variant was shown, as `publish` does an observation.

        Args:
            assignment_id: `Assignment.id`, of an experiment whose `exposure` is `event`.
            event_id, observed_at_ms: As in `publish`.
        """
        self.publish(assignment_id, EXPOSURE, EXPOSED / MICRO, event_id, observed_at_ms)

    async def publish_async(
        self,
        assignment_id: str,
        metric: str,
        value: float,
        event_id: str | None = None,
        observed_at_ms: int | None = None,
    ) -> None:
        """Do as `publish`, and let others run while the queue is full."""
        record = self._record(assignment_id, metric, value, event_id, observed_at_ms)
        await self._outbox.put_async(record, key=assignment_id.encode())

    async def publish_exposure_async(
        self, assignment_id: str, event_id: str | None = None, observed_at_ms: int | None = None
    ) -> None:
        """Do as `publish_exposure`, and let others run while the queue is full."""
        await self.publish_async(assignment_id, EXPOSURE, EXPOSED / MICRO, event_id, observed_at_ms)

    def void(self, assignment_id: str, reason: str) -> None:
        """Hand over that a unit and all that was observed of it are to be taken out again.

        Args:
            assignment_id: `Assignment.id`.
            reason: Why, as `ivt`: a lower-case letter and up to 31 lower-case letters, digits, `_`
                or `-`.

        Raises:
            ReceiptError: the assignment id is malformed or forged, or twice its attribution window
                has passed; nothing was sent.
            EventError: the reason is invalid; nothing was sent.
            DeliveryError: an earlier record was not delivered, or the queue stays full.
        """
        self._outbox.put(self._void(assignment_id, reason), key=assignment_id.encode())

    async def void_async(self, assignment_id: str, reason: str) -> None:
        """Do as `void`, and let others run while the queue is full."""
        await self._outbox.put_async(self._void(assignment_id, reason), key=assignment_id.encode())

    def _void(self, assignment_id: str, reason: str) -> bytes:
        if self._keyring is None:
            check_form(assignment_id)
        else:
            # Here too: workers remember a unit that counts from its exposure for longer.
            receipt = self._keyring.verify(assignment_id)
            window_s = WINDOWS_BY_EXPOSURE * receipt.attribution_window_s
            check_voidable(receipt._replace(attribution_window_s=window_s), now_ms())
        return encode_observation(Observation(assignment_id, void_metric(reason), MICRO))

    def _record(
        self,
        assignment_id: str,
        metric: str,
        value: float,
        event_id: str | None,
        observed_at_ms: int | None,
    ) -> bytes:
        if self._keyring is None:
            check_form(assignment_id)
        else:
            receipt = self._keyring.verify(assignment_id)
            # Whether units count from their exposure is not known here; workers know it.
            window_s = Exposure.EVENT.windows(metric) * receipt.attribution_window_s
            check_attribution(
                receipt._replace(attribution_window_s=window_s), observed_at_ms or now_ms()
            )
        return encode_observation(
            Observation(assignment_id, metric, to_micro(value), event_id, observed_at_ms)
        )
