"""The Faust app with the settings that the delivery guarantees depend on."""

from __future__ import annotations

import faust
from faust.types.auth import CredentialsT
from mode import CrashingSupervisor

from streams.settings import Settings
from streams.worker.tables import PromptTableManager
from streams.worker.transport import BatchingApp

REQUEST_TIMEOUT_S = 40.0


def make_app(settings: Settings) -> BatchingApp:
    """Return the app of one worker; attach agents before it starts."""
    return BatchingApp(
        settings.faust_app_id,
        broker=settings.faust_brokers,
        broker_credentials=_credentials(settings),
        store="memory://",
        TableManager=PromptTableManager,
        datadir=str(settings.data_dir),  # Faust creates directories there, which stay empty
        autodiscover=False,
        key_serializer="raw",
        value_serializer="raw",
        processing_guarantee="at_least_once",  # the tables deduplicate
        consumer_auto_offset_reset="earliest",
        topic_partitions=settings.partitions,
        topic_replication_factor=settings.replication_factor,
        topic_allow_declare=False,  # topics are created with their policies before
        topic_disable_leader=True,
        table_standby_replicas=0,
        agent_supervisor=CrashingSupervisor,
        broker_commit_interval=settings.commit_interval_s,
        broker_commit_every=None,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.heartbeat_s,
        broker_rebalance_timeout=3 * settings.session_timeout_s,
        broker_request_timeout=max(REQUEST_TIMEOUT_S, settings.session_timeout_s + 10.0),
        broker_max_poll_records=None,
        consumer_max_fetch_size=4 * 2**20,
        stream_buffer_maxsize=65_536,  # never reached: the transport bounds the queues
        stream_wait_empty=True,
        stream_publish_on_commit=False,
        stream_recovery_delay=0.0,
        producer_acks=-1,
        producer_linger=0.0,  # a barrier waits for every write
        producer_max_batch_size=262_144,
        producer_max_request_size=16 * 2**20,
        producer_compression_type="lz4",
        producer_request_timeout=settings.kafka_timeout_s * 3,  # after that a write has failed
        producer_threaded=False,
        # The check reports a changelog that was read beyond the broker's answer as corrupt.
        recovery_consistency_check=False,
        web_enabled=False,
        debug=False,
    )


def _credentials(settings: Settings) -> CredentialsT | None:
    security = settings.kafka_security()
    match security.protocol:
        case "PLAINTEXT":
            return None
        case "SSL":
            return faust.SSLCredentials(context=security.ssl_context)
        case _:
            return faust.SASLCredentials(
                username=security.username,
                password=security.password,
                mechanism=security.mechanism,
                ssl_context=security.ssl_context,
            )
