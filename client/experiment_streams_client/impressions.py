"""Impressions straight to Kafka, for those who randomise elsewhere and know their propensities."""

from __future__ import annotations

import json
import math
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiment_streams_client.outbox import KafkaConfig, Outbox, Publisher, now_ms
from schemas.catalogue import IMPRESSIONS
from streams.model.dimensions import pack_dimensions
from streams.model.errors import InvalidParameterError
from streams.model.events import ImpressionBatch, ImpressionGroup
from streams.model.experiment_keys import named_experiment
from streams.model.quantities import to_propensity
from streams.model.receipts import Keyring, Receipt
from streams.model.variant_weights import pack_propensities
from streams.model.vectors import INTERCEPT, Vector, pack
from streams.policies.bucketing import draws
from streams.wire.batch_tags import sealer
from streams.wire.impressions import encode_impression_batch

UNIT_KEY_BYTES = 16
_TOLERANCE = 1e-6


class ImpressionPublisher(Publisher):
    """Publishes impressions that were randomised elsewhere, and mints their assignment ids.

    Impressions are packed: a record holds up to `batch_size` of them, with the incarnation of this
    publisher and a sequence, so that a record delivered twice counts once.

    Args:
        kafka: Addresses, as `host:port,host:port`, or a configuration of librdkafka.
        keyring: Signs the assignment ids; the engine must know its first key.
        topic: The topic of impressions, with the prefix of the installation.
        batch_size: Impressions of a record at most, >= 1.
        queue_timeout_s: How long a full queue may stay full, in seconds.
        metadata_timeout_s: Time limit for Kafka to return the topic's partitions, in seconds.

    Raises:
        DependencyError: Kafka does not answer, or has no such topic.

    Examples:
        ```
        with ImpressionPublisher("localhost:9092", keyring) as publisher:
            assignment_id = publisher.publish(experiment.id, variant_index=2, propensity=0.125)
        ```
    """

    def __init__(
        self,
        kafka: str | KafkaConfig,
        keyring: Keyring,
        *,
        topic: str = IMPRESSIONS.name,
        batch_size: int = 1000,
        queue_timeout_s: float = 30.0,
        metadata_timeout_s: float = 10.0,
    ) -> None:
        super().__init__(Outbox(kafka, topic, queue_timeout_s=queue_timeout_s))
        self._keyring = keyring
        self._seal = sealer(keyring)
        self._batch_size = batch_size
        self._incarnation = secrets.randbits(64)
        self._n_partitions = self._outbox.count_partitions(metadata_timeout_s)
        self._sequences = [0] * self._n_partitions
        self._waiting: list[dict[tuple[int, bool], _Columns]] = [
            defaultdict(_Columns) for _ in range(self._n_partitions)
        ]
        self._n_waiting = [0] * self._n_partitions
        self._turn = 0

    def publish(  # noqa: PLR0913  # each a field of the impression
        self,
        experiment_id: str,
        variant_index: int,
        propensity: float | Sequence[float],
        *,
        unit: str | None = None,
        assigned_at_ms: int | None = None,
        attribution_window_s: int = 0,
        allocation_version: int = 0,
        context: Mapping[str, Any] | None = None,
        features: Vector = INTERCEPT,
        dimensions: Sequence[int] = (),
    ) -> str:
        """Log an impression and return the assignment id that its observations must name.

        Args:
            experiment_id: Id or key of the experiment.
            variant_index: Which of its variants was shown, from 0.
            propensity: Probability with which it was chosen, in (0, 1]; or those of all variants in
                the order of the definition, 0 for one that was not eligible. Where they move, three
                and more variants are compared much sooner if those of all are known.
            unit: User or session, where those are randomised; None where each impression is.
            assigned_at_ms: When, in milliseconds since the epoch; now unless given.
            attribution_window_s: Seconds during which observations count; 0 for no limit.
            allocation_version: Version of whatever decided, if it has versions.
            context: What is known of the request; JSON, logged with the impression.
            features: What the contextual policy of the experiment may know of it, as the
                `FeatureSpace` of its features encodes it.
            dimensions: Of each dimension of the experiment the place of the unit's value among the
                declared ones, from 1; 0 for any other and for none.

        Raises:
            InputError: `experiment_id` is neither.
            InvalidParameterError: the propensity is outside (0, 1], those of all variants do not
                sum to 1, or there are more dimensions or values than an experiment can have.
            ForkedError: this process was forked from the one that made the publisher.
            DeliveryError: an earlier record was not delivered, or the queue stays full.
        """
        self._outbox.check_process()  # the sequences are of the process that made it
        experiment = named_experiment(experiment_id)
        numerator, weights = _weighed(propensity, variant_index)
        values = pack_dimensions(dimensions)
        unit_key = secrets.token_bytes(UNIT_KEY_BYTES) if unit is None else unit
        receipt = Receipt(
            experiment=experiment,
            variant=variant_index,
            propensity=numerator,
            allocation_version=allocation_version,
            assigned_at_ms=now_ms() if assigned_at_ms is None else assigned_at_ms,
            unit=draws(experiment, unit_key).unit,
            attribution_window_s=attribution_window_s,
            features=pack(features),
            weights=weights,
            dimensions=values,
        )
        # A unit that comes again must meet itself in one partition; a fresh one fits anywhere.
        partition = self._turn if unit is None else receipt.unit * self._n_partitions >> 64
        text = "" if context is None else json.dumps(context, separators=(",", ":"))
        self._waiting[partition][experiment, unit is not None].add(receipt, text)
        self._n_waiting[partition] += 1
        if self._n_waiting[partition] >= self._batch_size:
            self._send(partition)
            self._turn = (self._turn + 1) % self._n_partitions
        return self._keyring.sign(receipt)

    def flush(self, timeout_s: float = 30.0) -> None:
        """Send what waits for a full batch, and wait until all is acknowledged.

        Raises:
            DeliveryError: something was not, in `timeout_s` seconds.
        """
        for partition, n_waiting in enumerate(self._n_waiting):
            if n_waiting:
                self._send(partition)
        super().flush(timeout_s)

    def _send(self, partition: int) -> None:
        waiting, self._waiting[partition] = self._waiting[partition], defaultdict(_Columns)
        self._n_waiting[partition] = 0
        batch = ImpressionBatch(
            incarnation=self._incarnation,
            partition=partition,
            sequence=self._sequences[partition],
            groups=[
                columns.group(experiment, repeatable=repeatable)
                for (experiment, repeatable), columns in waiting.items()
            ],
        )
        self._sequences[partition] += 1
        sealed = self._seal(IMPRESSIONS.name, partition, encode_impression_batch(batch))
        self._outbox.put(sealed, partition=partition)


@dataclass(slots=True)
class _Columns:
    """Impressions of one experiment that wait for their batch."""

    variants: list[int] = field(default_factory=list)
    propensities: list[int] = field(default_factory=list)
    allocation_versions: list[int] = field(default_factory=list)
    assigned_at_ms: list[int] = field(default_factory=list)
    units: list[int] = field(default_factory=list)
    contexts: list[str] = field(default_factory=list)
    features: list[bytes] = field(default_factory=list)
    weights: list[bytes] = field(default_factory=list)
    dimensions: list[bytes] = field(default_factory=list)

    def add(self, receipt: Receipt, context: str) -> None:
        self.variants.append(receipt.variant)
        self.propensities.append(receipt.propensity)
        self.allocation_versions.append(receipt.allocation_version)
        self.assigned_at_ms.append(receipt.assigned_at_ms)
        self.units.append(receipt.unit)
        self.contexts.append(context)
        self.features.append(receipt.features)
        self.weights.append(receipt.weights)
        self.dimensions.append(receipt.dimensions)

    def group(self, experiment: int, *, repeatable: bool) -> ImpressionGroup:
        return ImpressionGroup(
            experiment,
            repeatable,
            self.variants,
            self.propensities,
            self.allocation_versions,
            self.assigned_at_ms,
            self.units,
            self.contexts if any(self.contexts) else (),
            self.features if any(self.features) else (),
            self.weights if any(self.weights) else (),
            self.dimensions if any(self.dimensions) else (),
        )


def _weighed(propensity: float | Sequence[float], variant: int) -> tuple[int, bytes]:
    """Return the propensity of a variant as a numerator, and the packed weights of all."""
    if not isinstance(propensity, Sequence):
        return to_propensity(propensity), b""
    if not (
        variant < len(propensity)
        and min(propensity) >= 0.0
        and math.isclose(math.fsum(propensity), 1.0, abs_tol=_TOLERANCE)
    ):
        requirement = "the probability of each variant, which sum to 1"
        raise InvalidParameterError("propensity", tuple(propensity), requirement)
    numerators = [0 if each == 0.0 else to_propensity(each) for each in propensity]
    return to_propensity(propensity[variant]), pack_propensities(numerators)
